"""The machine: what real QEMUs answered, the simulated one like them, and what differs between two."""

import json

import pytest
from attrs import evolve

from planner.load.load_checks import load_problems
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.hardware import Hardware, PciFunction
from planner.model.peripherals import Device
from planner.parts.accepting import Accepted
from planner.parts.machine_checks import device_problems, hardware_problems
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.run.actions import ErrorReply, Returned, Send
from planner.run.survey_hardware import survey_hardware
from planner.semantics import state_from_facts
from tests.unit.build import ROOT, SCHEMAS
from tests.unit.snapshots import images, manifest, vm
from tests.unit.test_peripherals import survey_of
from tests.unit.test_schemas import MANIFEST

VERSIONS = tuple(SCHEMAS)


def ask(answers):
    """Run the survey of a machine against recorded answers; the rest is unknown to the VM."""

    def question(command, **arguments):
        response = yield Send(command, arguments)
        return response.value if isinstance(response, Returned) else None

    asking = survey_hardware(question)
    send = next(asking)
    while True:
        key = " ".join([send.command, *map(str, send.arguments.values())])
        answer = Returned(answers[key]) if key in answers else ErrorReply("GenericError", "unknown")
        try:
            send = asking.send(answer)
        except StopIteration as end:
            return end.value


def recorded(version):
    return json.loads((ROOT / f"tests/data/hardware-{version}.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_machine_is_seen_as_it_is(version):
    """Processors, memory, firmware, what is built in, and each PCI function, behind bridges too."""
    seen = ask(recorded(version))
    assert (seen.processors, dict(seen.topology)["cores"], seen.accelerator) == (2, 3, "kvm")
    assert seen.processor_type == "qemu64-x86_64-cpu"
    assert any(register.endswith(".edx") for register, _ in seen.features)
    assert (seen.memory_slots, seen.memory_backends) == (2, ("pc.ram",))
    assert seen.firmware == (("system.flash0", 262144),)
    assert "hpet" in {kind for _, kind in seen.built_in}
    pci = {function.address: function for function in seen.pci}
    assert (pci["06.0"].id, pci["06.0"].kind) == ("nic", "Ethernet controller")
    assert (6, 262144) in pci["06.0"].regions
    assert (pci["03.0/00.0"].id, pci["03.0"].closed) == ("rng", False)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bridge_that_no_firmware_has_numbered_is_closed(version):
    """QEMU shows nothing behind it, so nothing there is missing."""
    answers = recorded(version)
    was = ask(answers)
    for device in answers["query-pci"][0]["devices"]:
        if "pci_bridge" in device:
            device["pci_bridge"]["bus"]["secondary"] = 0
            device["pci_bridge"]["devices"] = []
    now = ask(answers)
    assert [function.address for function in now.pci if function.closed] == ["03.0"]
    assert found(was, now) == set()


def test_a_qemu_that_knows_no_question_leaves_the_machine_open():
    """And nothing of it differs from anything."""
    unknown = ask({})
    assert unknown == Hardware()
    assert found(ask(recorded("7.2")), unknown) == found(unknown, ask(recorded("7.2"))) == set()


PC = Hardware(
    processors=2,
    topology=(("dies", 1), ("cores", 2), ("threads", 1)),
    processor_type="qemu64-x86_64-cpu",
    features=(("00000001.edx", 0b11),),
    accelerator="kvm",
    memory_slots=0,
    memory_backends=("pc.ram",),
    firmware=(("pc.bios", 262144),),
    built_in=((4, "i440FX"), (5, "isa-i8259"), (6, "hpet"), (7, "kvmclock")),
    pci=(
        PciFunction("05.0", 0x1AF4, 0x1001, id="disk"),
        PciFunction("06.0", 0x8086, 0x100E, id="nic", regions=((0, 131072), (6, 262144))),
    ),
)
ADDED = (Device("disk", "virtio-blk-pci"), Device("nic", "e1000"))
NIC = PC.pci[1]


def found(was, now, added_before=(), added_now=(), **more):
    """Codes and subjects of what differs between two machines."""
    before = manifest(hardware=was, added=added_before)
    after = evolve(vm(), hardware=now, devices=added_now, **more)
    return {(p.code, p.subject) for p in hardware_problems(before, after)}


HARD = {
    "fewer processors": ({"processors": 1}, "cpu"),
    "more of them, and queues that follow": ({"processors": 3}, "cpu"),
    "other APIC ids": ({"topology": (("cores", 1), ("threads", 3))}, None),
    "no KVM": ({"accelerator": "tcg"}, "vm"),
    "memory slots": ({"memory_slots": 2}, "memory"),
    "memory of another name": ({"memory_backends": ("ram0",)}, "memory"),
    "firmware of another size": ({"firmware": (("pc.bios", 131072),)}, "firmware"),
    "firmware of another kind": ({"firmware": (("system.flash0", 262144),)}, "firmware"),
    "a built-in device less": ({"built_in": PC.built_in[:2] + PC.built_in[3:]}, "hpet"),
    "a function less": ({"pci": PC.pci[:1]}, "PCI 06.0"),
    "another function": ({"pci": (PC.pci[0], evolve(NIC, device=0x100F))}, "PCI 06.0"),
    "another region": ({"pci": (PC.pci[0], evolve(NIC, regions=((0, 131072),)))}, "PCI 06.0"),
}
SOFT = {
    "another model": {"processor_type": "Nehalem-x86_64-cpu"},
    "a feature less": {"features": (("00000001.edx", 0b10),)},
    "threads": {"topology": (("cores", 1), ("threads", 2))},
}
FREE = {
    "room for more processors": {"topology": (("dies", 1), ("cores", 4), ("threads", 1))},
    "a feature more": {"features": (("00000001.edx", 0b111),)},
    "memory more": {"memory_backends": ("pc.ram", "more")},
    "a built-in device more": {"built_in": (*PC.built_in, (9, "usb-kbd"))},
    "KVM's own interrupt controller": {
        "built_in": tuple((n, k.replace("isa-i8259", "kvm-i8259")) for n, k in PC.built_in)
    },
    "a function more": {"pci": (*PC.pci, PciFunction("07.0", 1, 1))},
    "another id": {"pci": (PC.pci[0], evolve(NIC, id="other"))},
}


@pytest.mark.parametrize(("changes", "subject"), HARD.values(), ids=HARD)
def test_what_ends_a_load_is_told(changes, subject):
    """By name, and nothing lets it through."""
    was = PC
    if subject is None:
        was, subject = evolve(PC, processors=4, topology=(("cores", 4), ("threads", 1))), "cpu"
        changes = {**changes, "processors": 4}
    assert found(was, evolve(was, **changes)) == {("machine-differs", subject)}


@pytest.mark.parametrize("changes", SOFT.values(), ids=SOFT)
def test_another_processor_is_told_until_it_is_accepted(changes):
    """QEMU would load it without a word."""
    now = evolve(PC, **changes)
    assert found(PC, now) == {("cpu-differs", "cpu")}
    before, after = manifest(hardware=PC), evolve(vm(), hardware=now)
    held = images(after)
    assert {p.code for p in load_problems(before, after, held)} == {"cpu-differs"}
    assert load_problems(before, after, held, accepted=Accepted(cpu=True)) == ()


def test_more_processors_are_told_softly_where_no_queues_follow_them():
    """Without virtio-blk QEMU takes them; the guest finds them as after a reset."""
    was = evolve(PC, pci=(NIC,), topology=(("cores", 2),))
    assert found(was, evolve(was, processors=3)) == {("cpu-differs", "cpu")}


@pytest.mark.parametrize("changes", FREE.values(), ids=FREE)
def test_what_the_guest_does_not_notice_is_no_difference(changes):
    """What is more than was saved, and what only has another name."""
    assert found(PC, evolve(PC, **changes)) == set()


def test_disks_alone_fit_every_machine():
    """Without machine state nothing of the machine is loaded."""
    parts = tuple(evolve(part, vm_state_size_bytes=0) for part in manifest().parts)
    before = evolve(manifest(hardware=PC), parts=parts)
    after = evolve(vm(), hardware=evolve(PC, processors=1))
    assert list(hardware_problems(before, after)) == []


def test_of_another_version_what_is_built_in_is_not_compared():
    """It may be made of other devices; the machine type says that they fit."""
    newer = evolve(vm().qemu, major=10, minor=0)
    assert found(PC, evolve(PC, built_in=()), qemu=newer) == set()
    assert found(PC, evolve(PC, built_in=((1, "x"),)), qemu=newer) == set()


def test_devices_that_were_added_are_counted_by_type():
    """Whatever their ids; those without state do not count, ports must be just as many."""
    nic, other = Device("nic", "e1000"), Device("/machine/peripheral-anon/device[0]", "e1000")
    assert found(PC, PC, ADDED, (ADDED[0], other)) == set()
    assert found(PC, evolve(PC, pci=PC.pci[:1]), ADDED, ADDED[:1]) == {("machine-differs", "e1000")}
    assert found(PC, PC, (*ADDED, Device("x", "isa-debugcon")), ADDED) == set()
    assert found(PC, PC, (*ADDED, Device("c", "qemu64-x86_64-cpu")), ADDED) == set()
    port = Device("p", "virtserialport")
    more = (port, evolve(port, id="q"))
    assert found(PC, PC, (port,), more) == {("machine-differs", "virtserialport")}
    assert found(PC, PC, (nic,), (nic, port)) == set()


def test_a_disk_without_an_id_is_known_by_its_number_among_its_type():
    """Another device before it changes its path, and not what it is; two exchanged disks are told."""
    path = "/machine/peripheral-anon/device[{}]"
    disks = [Device(path.format(n), "virtio-blk-pci") for n in range(3)]
    rng = Device(path.format(0), "virtio-rng-pci")
    qdev = {n: f"{path.format(n)}/virtio-backend" for n in range(3)}

    def told(before, after, added):
        names = [disk.name for disk in vm().disks]
        was = manifest(
            hardware=PC, added=tuple(disks[:2]), devices=tuple(zip(names, before, strict=True))
        )
        now = vm(*(evolve(d, qdev=q) for d, q in zip(vm().disks, after, strict=True)))
        return [p.subject for p in device_problems(was, evolve(now, hardware=PC, devices=added))]

    shifted = (rng, *disks[1:])
    assert told((qdev[0], qdev[1]), (qdev[1], qdev[2]), shifted) == []
    assert told((qdev[0], qdev[1]), (qdev[2], qdev[1]), shifted) == ["disk0", "disk1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_simulated_qemu_answers_of_a_machine_what_it_was_given(version):
    """A survey of it finds the machine of the facts that it was made from, and files keep it."""
    seen = ask(recorded(version))
    known = evolve(vm(version=version), hardware=seen)
    assert survey_of(state_from_facts(known)).hardware == seen
    assert read_facts(json.dumps(facts_to_plain(known))).hardware == seen
    text = json.dumps(manifest_to_plain(manifest(hardware=seen, added=ADDED)))
    MANIFEST.validate(json.loads(text))
    assert (read_manifest(text).hardware, read_manifest(text).added) == (seen, ADDED)


def test_a_manifest_of_before_has_no_machine():
    """It is read, and no machine differs from it."""
    plain = manifest_to_plain(manifest())
    assert not {"hardware", "added", "left-out"} & set(plain)
    old = read_manifest(json.dumps(plain))
    assert list(hardware_problems(old, evolve(vm(), hardware=PC))) == []
