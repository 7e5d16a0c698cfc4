"""What the documentation has its readers type works, and prints what stands below it."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.qemu import qemu_version
from tests.support.terminal import Terminal
from tests.support.topology import Topology, two_disks
from tests.support.transcripts import commands_of, in_a_folder, matches, printed

ROOT = Path.cwd()
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    path.relative_to(ROOT / "docs")
    for path in (ROOT / "docs").rglob("*.md")
    if commands_of(path.read_text())
)
NEEDS_TEN = ("background.md",)
ALWAYS = ("on-your-vm.md",)
"""Pages that each run of the tests tries; campaigns try all."""


@pytest.mark.real_qemu
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page.name in ALWAYS else pytest.mark.long, id=str(page))
        for page in PAGES
    ],
)
def test_the_console_blocks_of_a_page_are_true(page):
    """One after the other, in a new folder, as somebody does who reads the page from its head."""
    if page.name in NEEDS_TEN and qemu_version() < (10, 0):
        pytest.skip("needs QEMU 10.0")
    with in_a_folder() as folder:
        for command in commands_of((ROOT / "docs" / page).read_text()):
            said = printed(command, folder)
            assert matches(command.expected, said), f"$ {command.line}\n{said}"


@pytest.mark.real_qemu
def test_the_five_commands_of_the_readme(qemu, tmp_path, monkeypatch):
    """As they stand there, at a terminal where a person says yes to each question."""
    (block,) = (each for each in shell_blocks() if "snapplan inspect --vm" in each)
    vm = qemu.start(Topology(two_disks().disks, guest=True))
    vm.wait_guest(1)
    monkeypatch.chdir(tmp_path)
    lines = block.strip().splitlines()
    assert len(lines) == 5
    for line in lines:
        typed = line.replace("/run/vm/snapplan.sock", str(vm.qmp_path))
        asks = "snapplan delete" in typed
        found = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        named = {"SNAPPLAN_STORE": str(tmp_path), "PATH": found}
        with Terminal(shutil.which("bash"), "-c", typed, **named) as shown:
            if asks:
                shown.until("[y/N]")
            assert shown.answer("y" if asks else "") == 0, shown.shown
    assert vm.qmp.execute("query-status")["status"] == "running"


def shell_blocks():
    """The blocks of the README that are typed and print nothing that is promised."""
    return re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
