"""The console blocks of a page, run as a reader would type them.

A line that begins with `$ ` is a command, lines after it that begin with `> ` go on with it, and what
stands below is what it prints, on both streams.  `…` stands for any text of a line, alone on a line
for any lines; runs of spaces count as one, since columns are as wide as what is in them.

A page runs in a folder of its own, with a store of its own.  Whatever its commands started is ended by
the pid files (`*.pid`) that they wrote there.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support.binaries import daemon_binary
from tests.support.forked import run_snapplan
from tests.support.linux_guest import guest_folder
from tests.support.qemu import qemu_binary, qemu_img_binary

__all__ = ["Command", "commands_of", "in_a_folder", "matches", "printed"]

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.*\n(?:> .*\n)*)", re.MULTILINE)
_ROOT = Path(__file__).parents[2]
_FIRMWARE = "/usr/share/OVMF/"  # not installed for the tests: the Linux guest's is the same
_PLAIN = re.compile(r"snapplan ([\w ./-]+)")
"""A command that needs no shell; it can be a fork of a snapplan that is loaded."""
_ENDS_S = 10
_LIMIT_S = 300


@attrs.frozen
class Command:
    """One command and what the page says that it prints."""

    line: str
    expected: str


def commands_of(page: str) -> list[Command]:
    """The commands of a page's console blocks, in order."""
    found = []
    for block in _BLOCK.findall(page):
        parts = _COMMAND.split(block)
        assert not parts[0], f"output before the first command: {parts[0]!r}"
        for typed, expected in zip(parts[1::2], parts[2::2], strict=True):
            line = re.sub(r"^> ", "", typed, flags=re.MULTILINE)
            found.append(Command(line.removesuffix("\n"), expected))
    return found


def matches(expected: str, printed: str) -> bool:
    """Whether it printed what the page says, but for what `…` stands for."""
    lines = [" ".join(line.split()) for line in expected.splitlines()]
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*?".join(map(re.escape, line.split("…"))) + r"\n"
        for line in lines
    )
    flat = "".join(" ".join(line.split()) + "\n" for line in printed.splitlines())
    return re.fullmatch(pattern, flat) is not None


@contextlib.contextmanager
def in_a_folder() -> Iterator[Path]:
    """A folder for a page's files; when it is left, what was started there has ended."""
    with tempfile.TemporaryDirectory(prefix="sp-") as name:  # short: a socket's path ends at 107
        folder = Path(name)
        tools = folder / ".tools"
        tools.mkdir()
        for command, binary in (
            ("qemu-system-x86_64", qemu_binary()),
            ("qemu-img", qemu_img_binary()),
            ("qemu-storage-daemon", daemon_binary()),
        ):
            (tools / command).symlink_to(os.path.realpath(str(binary)))
        try:
            yield folder
        finally:
            for file in list(folder.rglob("*.pid")):
                with contextlib.suppress(FileNotFoundError):  # it is just ending
                    _end(int(file.read_text() or 0))


def printed(command: Command, folder: Path, store: Path | None = None) -> str:
    """What a command prints in a folder; the store is in it, if no other is given."""
    if plain := _PLAIN.fullmatch(command.line):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("PATH", _path(folder))
            patch.setenv("SNAPPLAN_STORE", str(store or folder / "store"))
            done = run_snapplan(*plain[1].split())
        return f"{done.stdout}{done.stderr}"
    done = subprocess.run(
        ["bash", "-c", _here(command.line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        cwd=folder,
        timeout=_LIMIT_S,
        env={
            **os.environ,
            "checkout": str(_ROOT),
            "PATH": _path(folder),
            "SNAPPLAN_STORE": str(store or folder / "store"),
        },
    )
    return done.stdout


def _here(line: str) -> str:
    return line.replace(_FIRMWARE, f"{guest_folder()}/") if _FIRMWARE in line else line


def _path(folder: Path) -> str:
    return f"{folder / '.tools'}:{Path(sys.executable).parent}:{os.environ['PATH']}"


def _end(pid: int) -> None:
    if not pid:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _ENDS_S
        while time.monotonic() < until:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            time.sleep(0.02)
