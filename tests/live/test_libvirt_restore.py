"""Machine state in a file, of a domain of libvirt's: `virsh restore` takes it, and so does snapplan."""

import os
import re
import signal

import pytest

from backends.qemu_facts.lab import guest
from tests.live.runs import as_json, snapplan
from tests.live.test_libvirt import request
from tests.support.libvirt import elsewhere, libvirtd, needed

pytestmark = pytest.mark.real_qemu


@pytest.fixture(scope="module")
def daemon():
    with libvirtd() as started:
        yield started


@pytest.fixture
def domain(daemon, request):
    return daemon.domain("".join(each for each in request.node.name if each.isalnum()))


def saved(domain, store, capture, apart):
    """A snapshot with its machine state in a file, and where its guest was; it has gone on since."""
    folder = domain.daemon.folder
    domain.wait_guest()
    state, overlay = (folder / f"{domain.name}.{each}" for each in ("state", "qcow2"))
    second = f"{{external: {overlay}}}" if apart else "internal"
    wish = f"{{external: {state}, capture: {capture}}}"
    done = snapplan(
        *("apply", request(folder, domain.name, wish, second)),
        *("--vm", domain.address, "--store", store),
    )
    assert done.returncode == 0, done.stderr
    upto = guest.heartbeats(domain.console())[-1]
    domain.wait_guest(beats=5, since=len(domain.console()))
    assert state.stat().st_mode & 0o777 == 0o600
    domain.daemon.give(state)
    return state, upto


def went_back(domain, upto):
    """The guest goes on from the snapshot, on memory and disks of one instant."""
    assert domain.wait_guest(beats=3)[0] <= upto + guest.HEARTBEAT_ROUNDS


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("capture", "apart"),
    [
        ("stopped", True),
        pytest.param("stopped", False, marks=pytest.mark.long),
        pytest.param("live", True, marks=pytest.mark.long),
    ],
)
def test_virsh_restores_a_snapshot(daemon, domain, tmp_path, capture, apart):
    """Not before an overlay is ready; then memory and disks are right, and so is libvirt's view."""
    where = ("--store", tmp_path / "store")
    state, upto = saved(domain, tmp_path / "store", capture, apart)
    daemon.virsh("destroy", domain.name)
    if apart:
        assert daemon.virsh("restore", state, may_fail=True) is None
    ready = snapplan("load", domain.name, "--offline", "--yes", *where)
    assert ready.returncode == 0, ready.stderr
    assert f"virsh restore {state}\n" in ready.stdout
    daemon.virsh("restore", state)
    went_back(domain, upto)
    disks = [str(disk) for disk in domain.disks]
    if apart:
        disks[1] = str(daemon.folder / f"{domain.name}.restored-1.qcow2")
    assert domain.sources() == disks
    assert domain.state == "running (restored)"
    if capture == "live":  # as the documentation says
        file = daemon.folder / "restored.xml"
        file.write_text(daemon.virsh("dumpxml", domain.name, "--migratable", "--security-info"))
        before = str(daemon.folder / f"{domain.name}.qcow2")
        for named in (before, disks[1]):
            daemon.virsh("destroy", domain.name)
            daemon.virsh("start", domain.name)
            assert domain.sources()[1] == named
            daemon.virsh("define", file)


@pytest.mark.long
def test_virsh_restores_a_snapshot_again(daemon, domain, tmp_path):
    """The second time by the edited description that snapplan tells of; each from the same instant."""
    where = ("--store", tmp_path / "store")
    _, upto = saved(domain, tmp_path / "store", "stopped", apart=True)
    for number in (1, 2):
        daemon.virsh("destroy", domain.name)
        ready = snapplan("load", domain.name, "--offline", "--yes", *where, "--json")
        assert ready.returncode == 0, ready.stderr
        *described, restore = as_json(ready)["virsh"]
        if described:
            opened, now = (f"{domain.name}.restored-{each}.qcow2" for each in (1, number))
            xml = daemon.virsh(*described[0][1:])
            assert opened in xml
            file = daemon.folder / "domain.xml"
            file.write_text(xml.replace(opened, now))
            restore = [*restore[:-1], file]
        assert bool(described) == (number == 2)
        daemon.virsh(*restore[1:])
        went_back(domain, upto)
        assert domain.sources()[1].endswith(f".restored-{number}.qcow2")
        domain.wait_guest(beats=9)


@pytest.mark.long
def test_snapplan_restores_a_domains_snapshot_too(daemon, domain, tmp_path):
    """In a QEMU of its own, from the same file."""
    _, upto = saved(domain, tmp_path / "store", "live", apart=True)
    daemon.virsh("destroy", domain.name)
    [machine] = re.findall(r"machine='([^']+)'", daemon.virsh("dumpxml", domain.name))
    words = [*elsewhere(), needed("qemu-system-x86_64"), "-machine", f"{machine},usb=off,acpi=off"]
    words += ["-accel", "tcg", "-qmp", "unix:{qmp},server=on,wait=off"]
    words += f"-cpu qemu64 -m 64 -uuid {domain.uuid} -name {domain.name} -nodefaults".split()
    words += f"-display none -rtc base=utc -debugcon file:{tmp_path}/console".split()
    for number in range(2):
        disk = f"virtio-disk{number}"
        file = f"file.driver=file,file.filename={{disk:{disk}}}"
        words += ["-blockdev", f"driver={{format:{disk}}},node-name={disk},{file}"]
        device = f"virtio-blk-pci,bus=pci.0,addr={number + 2},drive={disk},id={disk}"
        words += ["-device", f"{device},bootindex={number + 1}"]
    line = ("--run", " ".join(words), "--qmp", tmp_path / "qmp", "--yes", "--json")
    done = snapplan("load", domain.name, *line, "--store", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    try:
        domain.console_file = tmp_path / "console"
        went_back(domain, upto)
    finally:
        os.kill(as_json(done)["pid"], signal.SIGKILL)
