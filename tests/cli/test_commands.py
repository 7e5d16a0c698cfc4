"""The command line's contract: exit codes, JSON, streams, files; no VM is needed for it."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner.cli.main import cli
from tests.support.fixtures import long
from tests.support.forked import run_snapplan

SNAPPLAN = Path(sys.executable).with_name("snapplan")
EXAMPLES = Path("specs/examples")
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
COMMANDS = sorted(
    path.stem.removesuffix("_command") for path in Path("planner/cli").glob("*_command.py")
)


def snapplan(*arguments, text="", **environment):
    return subprocess.run(
        [SNAPPLAN, *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def example(name):
    return EXAMPLES / f"{name}.yaml", EXAMPLES / f"{name}.facts.json"


def make_plan(path, design="transactional", name="uefi-guest"):
    request, facts = example(name)
    done = snapplan("plan", request, "--facts", facts, "--design", design, "-o", path)
    assert done.returncode == 0, done.stderr
    return done


def test_help_names_every_command():
    """The help text of the whole and of each command is there, on stdout."""
    top = snapplan("--help")
    assert top.returncode == 0
    assert all(f"  {name} " in top.stdout for name in COMMANDS)
    for name in COMMANDS:
        done = CliRunner().invoke(cli, [name, "--help"], prog_name="snapplan")
        assert done.exit_code == 0
        assert done.stdout.startswith(f"Usage: snapplan {name}")


def test_the_version_is_that_of_the_distribution():
    """--version says what is installed."""
    from importlib.metadata import version

    assert snapplan("--version").stdout == f"snapplan {version('snapplan')}\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("design", ["auto", *long("monolithic", "transactional")])
def test_every_example_is_planned_and_shown_in_every_form(tmp_path, name, design):
    """Each example gives a plan in each design, and the plan can be shown in every form."""
    plan = tmp_path / "plan.json"
    told = make_plan(plan, design, name)
    assert told.stderr == ""
    assert len(told.stdout.splitlines()) < 50, "a plan is explained on one screen"
    for form in ("text", "json", "qmp", "session", "script", "mermaid", "dot"):
        shown = run_snapplan("show", plan, "--format", form)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout
    assert snapplan("show", plan, "--format", "json").stdout == plan.read_text()
    assert snapplan("show", plan).stdout == told.stdout


def test_the_raw_variables_of_a_uefi_guest_are_explained(tmp_path):
    """A plan for a UEFI guest says in a line why its variables cannot be internal."""
    line = next(line for line in make_plan(tmp_path / "p").stdout.splitlines() if "vars0  " in line)
    assert "internal is impossible: a raw image holds no internal snapshots" in line


def test_a_plan_file_is_private_and_whole(tmp_path):
    """A new plan file has mode 0600; an old one is replaced whole, and its mode stays."""
    plan = tmp_path / "plan.json"
    for mode in (0o600, 0o644):
        make_plan(plan)
        assert stat.S_IMODE(plan.stat().st_mode) == mode
        plan.write_text("old")
        plan.chmod(0o644)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_no_automatic_node_name_reaches_a_file(tmp_path):
    """Nodes that QEMU named itself are called by their disk in facts and plans."""
    plan = tmp_path / "plan.json"
    make_plan(plan, name="drive-only")
    _, facts = example("drive-only")
    assert "#block" not in plan.read_text() + facts.read_text()
    assert '"@system"' in plan.read_text()


ERRORS = {
    "nothing listens": (12, "nobody-listens", ("list", "--vm", "/nonexistent/qmp")),
    "no socket": (12, "no-socket", ("list", "--vm", "pyproject.toml")),
    "no such file": (2, "file-unreadable", ("show", "/nonexistent/plan")),
    "no plan": (2, "plan-malformed", ("show", "specs/examples/one-disk.facts.json")),
    "no facts": (2, "facts-malformed", ("list", "--facts", "specs/schemas/plan.schema.json")),
    "no address": (2, "usage", ("apply", "specs/examples/one-disk.yaml")),
    "no facts or VM": (2, "usage", ("plan", "specs/examples/one-disk.yaml")),
    "wrong facts": (
        10,
        "request-refused",
        ("plan", "specs/examples/uefi-guest.yaml", "--facts", example("drive-only")[1]),
    ),
    "a design that is only described": (
        10,
        "design-cannot",
        ("apply", example("one-disk")[0], "--vm", "/nonexistent/qmp", "--design", "savevm"),
    ),
    "no such design": (
        2,
        "design-unknown",
        ("plan", example("one-disk")[0], "--facts", example("one-disk")[1], "--design", "best"),
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_has_a_code_and_an_exit_code_in_words_and_in_json(case):
    """Each error is told once on stderr, and with --json as an object on stdout."""
    exit_code, code, arguments = ERRORS[case]
    told = snapplan(*arguments)
    assert told.returncode == exit_code
    assert told.stdout == ""
    assert "Traceback" not in told.stderr
    assert told.stderr.startswith(("snapplan: ", "Usage: "))
    assert not told.stderr.startswith("snapplan: ["), "in words first; the code comes behind them"
    in_json = snapplan(*arguments, "--json")
    assert in_json.returncode == exit_code
    error = json.loads(in_json.stdout)
    assert error["format-version"] == 1
    assert (error["error"]["code"], error["error"]["exit-code"]) == (code, exit_code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "--facts", example("uefi-guest")[1]),
        ("list", "--facts", example("uefi-guest")[1]),
        ("plan", example("uefi-guest")[0], "--facts", example("uefi-guest")[1]),
    ],
    ids=lambda arguments: arguments[0],
)
def test_json_has_a_format_version_and_no_colour(arguments):
    """Every command's JSON says its format version, and nothing else is on stdout."""
    done = snapplan(*arguments, "--json")
    assert json.loads(done.stdout)["format-version"] in {1, 2}
    assert "\x1b" not in snapplan(*arguments).stdout


def test_all_problems_of_a_request_are_reported_together():
    """Problems of the file and problems with the VM come in one report, each with its code."""
    text = (
        "tag: 12\ncolour: red\nmachine-state: {internal: vars0}\n"
        "disks: {disk0: internal, system: exclude, vars0: internal, ghost: internal, disk0: exclude}\n"
    )
    done = snapplan("plan", "-", "--facts", example("uefi-guest")[1], "--json", text=text)
    assert done.returncode == 2
    codes = {problem["code"] for problem in json.loads(done.stdout)["error"]["problems"]}
    assert codes >= {
        "value-wrong",
        "tag-all-digits",
        "key-unknown",
        "key-twice",
        "disk-named-twice",
        "disk-unknown",
        "disk-not-mentioned",
        "format-without-snapshots",
    }


def test_a_drafted_request_is_taken_as_it_is():
    """What `inspect --request` drafts from facts, `plan` takes."""
    for name in NAMES:
        facts = example(name)[1]
        draft = run_snapplan("inspect", "--facts", facts, "--request").stdout
        done = run_snapplan("plan", "-", "--facts", facts, text=draft)
        assert done.returncode == 0, done.stderr


def test_a_request_that_no_plan_would_take_is_not_drafted():
    """The tag is looked at before the draft is written; without a draft it says nothing."""
    facts = example(NAMES[0])[1]
    done = snapplan("inspect", "--facts", facts, "--request", "--tag", "123")
    assert (done.returncode, done.stdout) == (2, "")
    assert "tag-all-digits" in done.stderr
    assert snapplan("inspect", "--facts", facts, "--tag", "123").returncode == 0


def test_shell_completion_is_there():
    """click's completion script is printed for bash."""
    done = snapplan(_SNAPPLAN_COMPLETE="bash_source")
    assert "_snapplan_completion" in done.stdout


def test_a_closed_pipe_is_no_bug(tmp_path):
    """A reader that leaves early ends snapplan without a traceback."""
    plan = tmp_path / "plan.json"
    make_plan(plan, name="twenty-disks")
    line = f"{SNAPPLAN} show {plan} --format script | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_holds_the_plan_alone(where, tmp_path):
    """By each of its names, and into a file of the shell's it goes where that stands."""
    made = tmp_path / "made"
    make_plan(made)
    request, facts = example("uefi-guest")
    options = ("--facts", facts, "--design", "transactional", "-o", where)
    assert snapplan("plan", request, *options).stdout == made.read_text()
    into = tmp_path / "into"
    into.write_text("before\n")
    with into.open("a") as file:
        subprocess.run([SNAPPLAN, "plan", request, *options], stdout=file, check=True)
    assert into.read_text() == f"before\n{made.read_text()}"


@pytest.mark.parametrize("option", [("plan", "-o"), ("inspect", "--facts-out")])
def test_a_device_that_is_named_for_output_stays_a_device(option, tmp_path):
    """As root too, whose /dev/null it would take away from the whole host."""
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node needs root")
    request, facts = example("uefi-guest")
    more = [request] if option[0] == "plan" else []
    done = snapplan(option[0], *more, "--facts", facts, option[1], device)
    assert done.returncode == 0, done.stderr
    assert stat.S_ISCHR(device.stat().st_mode)
