"""What snapplan says of another machine is what QEMU does with it: a load that would fail is refused.

One snapshot, and QEMUs that are started on its disk otherwise than the one that saved it.  Of each,
snapplan says what differs; then QEMU is told to load it all the same, by the test's own client.  The
guest sits in its BIOS: it is about QEMU alone.
"""

import dataclasses

import pytest

from planner.parts.accepting import CPU_DIFFERS
from planner.parts.manifest_text import read_manifest
from planner.parts.part_checks import vm_problems
from tests.live.restores import request_of, restored, save_external, template
from tests.live.runs import as_json, snapplan
from tests.live.snapshots import facts_of
from tests.support.qemu import run_qemu
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

SERIAL = ("-chardev", "null,id=null", "-device", "virtio-serial-pci,addr=9,id=serial")
PORT = ("-device", "virtserialport,chardev=null,name=port")
SECOND_PORT = ("-chardev", "null,id=more", "-device", "virtserialport,chardev=more,name=more")
USB = ("-device", "qemu-xhci,addr=8", "-device", "usb-tablet,port=1,id=tablet")
NIC = ("-device", "e1000,id=nic,addr=6")
SLOTS = ("-m", "64,slots=2,maxmem=1G")
TWO = ("-smp", "2")
BASE = (*TWO, *NIC, *USB, *SERIAL, *PORT, "-device", "isa-debug-exit", *SLOTS)

DEVICE = "/machine/peripheral/disk0-device/virtio-backend"


def without(*gone, base=BASE):
    """The base's arguments without these."""
    text = "\0".join(base)
    assert "\0".join(gone) in text
    return tuple(text.replace("\0".join(gone), "").strip("\0").replace("\0\0", "\0").split("\0"))


def instead(old, new):
    """The base's arguments with one of them another."""
    assert old in BASE
    return tuple(new if word == old else word for word in BASE)


# What is given to QEMU, what snapplan says (subjects), and whether QEMU loads it.
SAME = (set(), True)
VARIANTS = {
    "as it was": (BASE, *SAME),
    "a device more": ((*BASE, "-device", "virtio-rng-pci,addr=11"), *SAME),
    "a NIC without id, of another address": (
        instead("e1000,id=nic,addr=6", "e1000,addr=6,mac=52:54:00:12:34:99"),
        *SAME,
    ),
    "no NIC": (without(*NIC), {"e1000"}, False),
    "a NIC elsewhere": (instead("e1000,id=nic,addr=6", "e1000,id=nic,addr=7"), {"PCI 06.0"}, False),
    "a CPU less": (without(*TWO), {"cpu"}, False),
    "another CPU": ((*BASE, "-cpu", "Nehalem"), {"cpu"}, True),
    "no memory slots": (instead("64,slots=2,maxmem=1G", "64"), {"memory"}, False),
}
MORE = {
    "another NIC": (
        instead("e1000,id=nic,addr=6", "virtio-net-pci,id=nic,addr=6"),
        {"e1000"},
        False,
    ),
    "a NIC without boot ROM": (
        instead("e1000,id=nic,addr=6", "e1000,id=nic,addr=6,romfile="),
        {"PCI 06.0"},
        False,
    ),
    "another backend": (
        (
            *BASE[:2],
            "-netdev",
            "socket,id=net,listen=127.0.0.1:0",
            *instead(NIC[1], f"{NIC[1]},netdev=net")[2:],
        ),
        *SAME,
    ),
    "no tablet": (without("-device", "usb-tablet,port=1,id=tablet"), {"usb-tablet"}, False),
    "a port less": (without(*PORT), {"virtserialport"}, False),
    "a port more": ((*BASE, *SECOND_PORT), {"virtserialport"}, False),
    "no debug exit": (without("-device", "isa-debug-exit"), *SAME),
    "a CPU more": (instead("2", "3"), {"cpu"}, False),
    "room for CPUs": (instead("2", "2,maxcpus=4"), *SAME),
    "threads": (instead("2", "2,sockets=1,cores=1,threads=2"), {"cpu"}, True),
    "no HPET": ((*BASE, "-machine", "hpet=off"), {"hpet"}, False),
    "USB by the machine": ((*BASE, "-machine", "usb=on"), *SAME),
    "memory of another name": (
        (
            *BASE,
            "-object",
            "memory-backend-ram,id=mine,size=64M",
            "-machine",
            "memory-backend=mine",
        ),
        {"memory"},
        False,
    ),
    "the machine by its alias": ((*BASE, "-machine", "pc"), *SAME),
}


def saved(qemu):
    """A VM of the base and its snapshot: where it lies, its topology, its manifest."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), extra_args=BASE))
    manifest = save_external(vm, request_of("a", {"disk0": "internal"}, {"internal": "disk0"}))
    vm.end()
    return vm, read_manifest(manifest.read_text())


def options(vm):
    return ("--vm", vm.directory / "tool", "--store", vm.directory / "store", "--json")


def tried(vm, manifest, arguments):
    """What snapplan says of a machine, and whether QEMU loads the snapshot into it."""
    topology = dataclasses.replace(vm.topology, extra_args=arguments, paused=True)
    with run_qemu(topology, vm.directory) as fresh:
        problems = list(vm_problems(manifest, facts_of(fresh)))
        return problems, fresh.load("a", ["disk0"])


def on_disk(vm, command):
    """Read or write the disk without the guest; whether what is there is what is written."""
    before = len(vm.stderr())
    line = f'qemu-io -d {DEVICE} "{command} -P 0x55 1M 4k"'
    assert vm.execute("human-monitor-command", {"command-line": line}) == ""
    said = vm.stderr()[before:]  # QEMU prints there, not in its answer
    assert "4 KiB" in said, said
    return "Pattern verification failed" not in said


def check(qemu, variants):
    vm, manifest = saved(qemu)
    for name, (arguments, subjects, loads) in variants.items():
        problems, error = tried(vm, manifest, arguments)
        assert {problem.subject for problem in problems} == subjects, (name, problems)
        hard = [problem for problem in problems if problem.code != CPU_DIFFERS]
        assert bool(hard) is not loads, (name, problems)
        assert (error is None) is loads, (name, error)


def test_what_differs_is_told_and_is_what_stops_qemu(qemu):
    """No false alarm and no missed one: snapplan's word and QEMU's deed agree on each machine."""
    check(qemu, VARIANTS)


@pytest.mark.long
def test_more_that_differs_is_told_and_is_what_stops_qemu(qemu):
    """The same of more machines."""
    check(qemu, MORE)


def test_a_machine_that_differs_is_refused_before_a_disk_is_reverted(qemu):
    """By `load`, with the difference and nothing reverted; another processor can be accepted."""
    vm, _ = saved(qemu)
    topology = dataclasses.replace(vm.topology, extra_args=without(*NIC), paused=True)
    with run_qemu(topology, vm.directory) as fresh:
        assert on_disk(fresh, "write")
        done = snapplan("load", "a", *options(vm))
        said = as_json(done)["error"]
        found = [(problem["code"], problem["subject"]) for problem in said["problems"]]
        assert (done.returncode, said["code"]) == (10, "load-refused")
        assert found == [("machine-differs", "e1000")]
        assert on_disk(fresh, "read")
    topology = dataclasses.replace(vm.topology, extra_args=(*BASE, "-cpu", "Nehalem"), paused=True)
    with run_qemu(topology, vm.directory) as fresh:
        done = snapplan("load", "a", *options(vm))
        found = [problem["code"] for problem in as_json(done)["error"]["problems"]]
        assert (done.returncode, found) == (10, ["cpu-differs"])
        assert on_disk(fresh, "read")
        done = snapplan("load", "a", *options(vm), "--accept-cpu")
        assert done.returncode == 0, done.stderr
        assert not on_disk(fresh, "read")


def test_what_only_qemu_sees_is_told_in_its_own_words(qemu):
    """A tablet at another USB port: which disk is reverted is said, and what QEMU's log says."""
    vm, _ = saved(qemu)
    moved = instead("usb-tablet,port=1,id=tablet", "usb-tablet,port=2,id=tablet")
    with run_qemu(
        dataclasses.replace(vm.topology, extra_args=moved, paused=True), vm.directory
    ) as fresh:
        done = snapplan("load", "a", *options(vm))
        said = as_json(done)["error"]
        problems = {problem["code"]: problem for problem in said["problems"]}
        assert (done.returncode, said["code"]) == (21, "job-failed")
        assert problems["disk-reverted"]["message"] == "it was reverted to 'a'"
        log = problems["qemu-log"]["message"] + problems["job-failed"]["message"]
        assert "usb-ptr" in log
        if fresh.version < (11, 0):  # later its answer says it all
            assert str(vm.directory / "stderr") in log


def test_a_fresh_qemu_is_looked_at_before_an_image_is_reverted(qemu):
    """`load --run` reverts an image before QEMU opens it: by then one has been started, and compared."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), extra_args=BASE))
    state = {"external": str(vm.directory / "a.state"), "capture": "stopped"}
    manifest = save_external(vm, request_of("a", {"disk0": "internal"}, state))
    assert on_disk(vm, "write")
    vm.end()
    other = template(vm, manifest).replace("-device e1000,id=nic,addr=6 ", "")
    done = snapplan("load", "a", "--run", other, "--qmp", options(vm)[1], *options(vm)[2:], "--yes")
    found = {(p["code"], p["subject"]) for p in as_json(done)["error"]["problems"]}
    assert (done.returncode, as_json(done)["error"]["code"]) == (20, "load-refused")
    assert ("machine-differs", "e1000") in found
    assert "disk-reverted" not in {code for code, _ in found}
    with run_qemu(dataclasses.replace(vm.topology, paused=True), vm.directory) as again:
        assert on_disk(again, "read")
        again.end()
    with restored(vm, manifest, "--yes") as fresh:
        assert fresh.status() == "running"
    with run_qemu(dataclasses.replace(vm.topology, paused=True), vm.directory) as again:
        assert not on_disk(again, "read")
