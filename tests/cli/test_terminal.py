"""What a person at a terminal sees and does: progress, colours, questions, completion, Ctrl-C."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.terminal import Terminal

SNAPPLAN = Path(sys.executable).with_name("snapplan")
REQUEST = Path("specs/examples/uefi-guest.yaml")
FACTS = Path("specs/examples/uefi-guest.facts.json")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def vm():
    """The socket of a simulated VM; two disks and raw variables."""
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has to be short
        socket = f"{folder}/qmp"
        with subprocess.Popen(
            [SNAPPLAN, "simulate", "--facts", FACTS, "--socket", socket],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert "listening" in process.stderr.readline()
                yield socket
            finally:
                process.terminate()


def at_terminal(*arguments, typed="", **environment):
    """What a command prints on its terminal, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        changed = {**os.environ, "TERM": "xterm", **environment}
        if "NO_COLOR" not in environment:
            changed.pop("NO_COLOR", None)
        os.execve(SNAPPLAN, ["snapplan", *map(str, arguments)], changed)  # noqa: S606
    if typed:
        os.write(terminal, typed.encode())
    shown = b""
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while more := os.read(terminal, 65536):
            shown += more
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_terminal_shows_the_steps_on_one_line_that_goes(vm):
    """Progress names the step with its number, and is gone when the summary is printed."""
    shown, code = at_terminal("apply", REQUEST, "--vm", vm, "--design", "transactional")
    assert code == 0, shown
    assert "step 4 of 4: cont" in shown  # the others may go by between two frames
    assert COLOUR.search(shown)
    assert "\x1b[2KSnapshot 'before-upgrade' is complete" in shown, "the line is wiped"


def test_no_color_is_honoured_at_a_terminal(vm):
    """With NO_COLOR set there is progress, and no colour in it."""
    shown, code = at_terminal("apply", REQUEST, "--vm", vm, NO_COLOR="1")
    assert code == 0, shown
    assert "step 1 of 1: snapshot-save" in shown
    assert not COLOUR.search(shown)


def test_elsewhere_there_is_no_progress(vm):
    """Into a pipe or a file go the summary and nothing else."""
    done = subprocess.run(
        [SNAPPLAN, "apply", REQUEST, "--vm", vm], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(("answer", "exit_code"), [("n\n", 130), ("y\n", 0)])
def test_a_terminal_is_asked_before_snapshots_go(vm, tmp_path, answer, exit_code):
    """Replacing asks, and does nothing after a No."""
    assert at_terminal("apply", REQUEST, "--vm", vm)[1] == 0
    again = tmp_path / "again.yaml"
    again.write_text(REQUEST.read_text() + "existing-tag: replace\n")
    before = listed(vm)
    shown, code = at_terminal("apply", again, "--vm", vm, typed=answer)
    assert (
        "\x1b[2KDelete the existing snapshot 'before-upgrade' of disk0 (id 1), disk1 (id 1)?"
        in shown
    )
    assert code == exit_code, shown
    assert (listed(vm) == before) is (exit_code != 0)


def test_a_question_stands_as_it_was_asked(vm):
    """While nobody answers, nothing moves: what says that a command is at work stays away."""
    assert at_terminal("apply", REQUEST, "--vm", vm)[1] == 0
    with Terminal(SNAPPLAN, "delete", "before-upgrade", "--vm", vm, TERM="xterm") as asked:
        asked.until("? [y/N]")
        assert "at work" not in asked.still(1.2)
        assert asked.interrupt() == 130


def listed(vm):
    done = subprocess.run([SNAPPLAN, "list", "--vm", vm, "--json"], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_ctrl_c_outside_of_a_run_is_told_as_json_too(tmp_path):
    """Stopped while it waits for its input: exit 130, an error object, and no traceback."""
    fifo = tmp_path / "request"
    os.mkfifo(fifo)
    shell_s = os.open(fifo, os.O_PATH)
    with (
        subprocess.Popen(
            [SNAPPLAN, "plan", f"/dev/fd/{shell_s}", "--facts", FACTS, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(shell_s,),
            text=True,
        ) as process,
        fifo.open("w"),
    ):  # returns once snapplan has it open
        os.close(shell_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["snapplan", "pl"], {"plan"}),
        (["snapplan", "plan", "--des"], {"--design"}),
        (["snapplan", "plan", "--design", "mono"], {"monolithic"}),
        (["snapplan", "show", "--format", "me"], {"mermaid"}),
    ],
    ids=" ".join,
)
def test_completion_completes(words, offered):
    """The shell is offered commands, options, and the values that an option takes."""
    done = subprocess.run(
        [SNAPPLAN],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_SNAPPLAN_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered


def test_a_terminal_is_told_what_to_do_next(vm, tmp_path):
    """As commands that can be typed as they stand; elsewhere nothing is added."""
    store = tmp_path / "store"
    shown, code = at_terminal("apply", REQUEST, "--vm", vm, "--store", store)
    assert code == 0, shown
    _, _, told = shown.partition("Next:")
    commands = [line.strip() for line in told.splitlines() if "snapplan " in line]
    assert commands == [
        f"snapplan {verb} before-upgrade --vm {vm} --store {store}"
        for verb in ("verify", "load", "delete")
    ]
    verify = commands[0].split()[1:]
    subprocess.run([SNAPPLAN, *verify], check=True, capture_output=True)
