"""At a terminal, each long work on a real QEMU draws a bar with bytes and a rate."""

import sys
from pathlib import Path

import pytest

from tests.support.qemu import qemu_version
from tests.support.terminal import Terminal
from tests.support.writer import start_writer

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]

SNAPPLAN = Path(sys.executable).with_name("snapplan")
WRITTEN_MIB = 448
BAR = "━"
STREAM = "{{external: {folder}/{name}.stream, capture: {name}, max-bandwidth: 104857600}}"
STATES = {
    "internal": "{{internal: disk0}}",
    "image": "{{image: {folder}/state.qcow2}}",
    "live": STREAM,
    "stopped": STREAM,
}
if qemu_version() >= (10,):
    STATES["background"] = STREAM


@pytest.fixture(scope="module")
def vm():
    """A guest of 512 MiB that has written to all of its memory, and goes on."""
    with start_writer(WRITTEN_MIB, mib_per_s=4) as started:
        yield started


def drawn(*arguments):
    """What a command shows at a terminal that can draw; it ends well."""
    with Terminal(SNAPPLAN, *arguments, TERM="xterm", COLUMNS="120") as terminal:
        code = terminal.rest()
    assert code == 0, terminal.shown
    return terminal.shown


def assert_bar(shown):
    assert BAR in shown, shown
    assert "MiB/s" in shown, shown


@pytest.mark.parametrize("name", STATES)
def test_a_save_draws_a_bar(vm, tmp_path, name):
    """Of the machine state, in every kind of place; what reads it afterwards draws one too."""
    request, store = tmp_path / "request.yaml", tmp_path / "store"
    state = STATES[name].format(folder=vm.directory, name=name)
    request.write_text(f"tag: {name}\nmachine-state: {state}\ndisks: {{}}\nothers: internal\n")
    where = ("--vm", vm.qmp_path, "--store", store)
    assert_bar(drawn("apply", request, *where))
    if name == "internal":
        assert BAR in drawn("load", name, *where)  # it may be over before a rate is known
    if name in {"live", "stopped", "background"}:
        assert_bar(drawn("verify", name, *where, "--deep"))
    drawn("delete", name, *where, "--yes")


def test_a_copy_draws_a_bar(vm, tmp_path):
    """Of a disk of which 256 MiB hold data; QEMU's job tells how much."""
    vm.execute("block_resize", **{"node-name": "disk1", "size": 512 * 2**20})
    for at in range(64, 320, 64):
        write = f'qemu-io -d /machine/peripheral/disk1-device/virtio-backend "write -P 7 {at}M 64M"'
        assert vm.execute("human-monitor-command", **{"command-line": write}) == ""
    request, store = tmp_path / "request.yaml", tmp_path / "store"
    copy = f"{{copy: {vm.directory}/copy.qcow2}}"
    request.write_text(
        f"tag: c\nmachine-state: {{internal: disk0}}\ndisks: {{disk0: internal, disk1: {copy}}}\n"
    )
    where = ("--vm", vm.qmp_path, "--store", store)
    assert_bar(drawn("apply", request, *where))
    drawn("delete", "c", *where, "--yes")
