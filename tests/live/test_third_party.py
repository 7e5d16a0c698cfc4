"""A backend of another distribution: installed beside snapplan's wheel, checked, and used."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from planner.library.conformance.checks import CHECKS
from tests.live.runs import held
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

DISKS = ("disk0", "disk1")
THEIRS = Path(__file__).parents[1] / "third_party/snapplan_stdio_dist"
RELAY = """
import os, select, socket, sys
qmp = socket.socket(socket.AF_UNIX)
qmp.connect(sys.argv[1])
while True:
    for ready in select.select([0, qmp], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else qmp.recv(65536)
        if not data:
            sys.exit()
        qmp.sendall(data) if ready == 0 else os.write(1, data)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs Python where both wheels are installed, outside of the checkout."""
    site, wheels = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("wheels")
    sources = tmp_path_factory.mktemp("sources") / "theirs"
    shutil.copytree(THEIRS, sources)
    for source in (".", sources):
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
        options = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", wheels]
        subprocess.run([*pip, *options, source], check=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)

    def run(*arguments, text=""):
        return subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            cwd=site,
            env={**os.environ, "PYTHONPATH": str(site)},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def reached(qemu, tmp_path):
    """A VM, and its address for that backend."""
    vm = qemu.start(two_disks())
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    return vm, f"stdio:{sys.executable} {relay} {vm.qmp_path}"


def test_it_passes_the_conformance_suite(installed, reached):
    """As its author would run it."""
    done = installed("snapplan.conformance.backend", reached[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CHECKS) + 1} kept, 0 broken" in done.stdout


def test_a_snapshot_is_taken_loaded_and_deleted_through_it(installed, reached):
    """Through the command line, by `NAME:ADDR` and by `--backend`; its address is recorded as it is."""
    vm, address = reached
    draft = installed("snapplan", "inspect", "--request", "--tag", "before", "--vm", address)
    assert draft.returncode == 0, draft.stderr
    place = address.removeprefix("stdio:")
    for command in (
        ["apply", "-", "--vm", address],
        ["verify", "before", "--backend", "stdio", "--vm", place],
        ["load", "before", "--vm", address],
        ["list", "--vm", address],
        ["delete", "before", "--yes", "--backend", "stdio", "--vm", place],
    ):
        done = installed("snapplan", *command, text=draft.stdout)
        assert done.returncode == 0, (command, done.stderr)
        if command[0] == "apply":
            assert held(vm, DISKS) == {disk: ["before"] for disk in DISKS}
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


def test_what_needs_the_host_is_refused_through_it(installed, reached, tmp_path):
    """Its VM's files may be another machine's."""
    _, address = reached
    request = (
        f"tag: a\nmachine-state: {{external: {tmp_path}/state, capture: stopped}}\n"
        "disks: {}\nothers: exclude\n"
    )
    done = installed("snapplan", "apply", "-", "--vm", address, text=request)
    assert done.returncode == 10, done.stderr
    assert "host-not-here" in done.stderr
