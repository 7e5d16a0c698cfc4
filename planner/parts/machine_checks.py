"""Whether a machine state fits a VM: what QEMU would find out when the disks are reverted already.

What ends a load ("Error -22 while loading VM state") is refused here, by name, and nothing lets it
through.  What QEMU loads without a word although the guest would notice, another processor, is refused
until somebody says that it may be (`Accepted`).  What the guest never sees, or finds as after a reset,
does not count: more devices, ids, the backends of devices, MAC addresses, firmware of other content.

Theory: fact 62 has what was tried.  A manifest of before, or a QEMU that does not know a question,
leaves that part unlooked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from planner.errors import Problem
from planner.model.facts import Facts
from planner.model.hardware import BUILT_IN, PROCESSOR, Hardware, PciFunction
from planner.model.peripherals import ANONYMOUS, Device
from planner.parts.accepting import CPU_DIFFERS
from planner.parts.manifest import Manifest

__all__ = ["device_label", "device_problems", "device_ranks", "hardware_problems"]

_AS_SAVED = "start the VM with the devices and settings that it had when it was saved"
_ACCEPT = "start the VM with the processor that it had, or accept it with --accept-cpu"

_STATELESS = frozenset(
    {
        "floppy",
        "ide-cd",
        "isa-applesmc",
        "isa-debug-exit",
        "isa-debugcon",
        "loader",
        "pvpanic",
        "ramfb",
        "sga",
    }
)
"""Types of devices that no machine state holds anything of: it is loaded without them (fact 62).

Whether a drive and its medium are there, `planner.parts.left_out_checks` looks."""

_PORTS = ("virtserialport", "virtconsole")
"""Ports of a virtio-serial device, which must have just those that were saved."""

_VIRTIO = 0x1AF4
_QUEUES_FOLLOW_PROCESSORS = frozenset({0x1001, 0x1042, 0x1004, 0x1048, 0x105A})
"""virtio-blk, -scsi and -fs: by default as many queues as there are processors."""

_KVM_HAS_ITS_OWN = {"kvm-i8259": "isa-i8259", "kvm-pit": "isa-pit", "kvm-ioapic": "ioapic"}

_LEVELS = ("threads", "cores", "modules", "clusters", "dies")


def hardware_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    """What of the machine is not as it was; nothing where no machine state is loaded."""
    was, now = manifest.hardware, facts.hardware
    if manifest.vmstate is None or was is None or now is None:
        return
    if (manifest.machine, manifest.target) != (facts.machine, facts.target):
        return  # that is told; of another machine nothing is where it was
    same_qemu = (manifest.qemu.major, manifest.qemu.minor) == (facts.qemu.major, facts.qemu.minor)
    yield from _accelerator(was, now)
    yield from _processors(was, now)
    yield from _processor_type(was, now)
    yield from _memory(was, now)
    yield from _firmware(was, now)
    missing = _missing(_types(manifest.added), _types(facts.devices))
    yield from _added(manifest.added, facts.devices, missing)
    if same_qemu:  # another version may make of the same machine type other devices of its own
        yield from _built_in(was, now)
    yield from _pci(was, now, {device.id for device in manifest.added if device.type in missing})


def device_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    """Every disk against the device that it hung on.

    A device without an id is known by its number among those of its type: its QOM path changes with
    every other device, and with the version of QEMU.
    """
    before, after = device_ranks(manifest, facts)
    now = {disk.name: disk.qdev for disk in facts.disks}
    for disk, qdev in manifest.devices:
        if disk in now and device_label(qdev, before) != device_label(now[disk], after):
            yield Problem(
                "device-differs",
                disk,
                f"it was attached as {qdev or 'nothing'} and is attached as {now[disk] or 'nothing'}",
                "the saved machine state knows the disk by its device",
            )


def device_ranks(manifest: Manifest, facts: Facts) -> tuple[dict[str, str], dict[str, str]]:
    """The devices without an id, then and now: what each is called for `device_label`, by QOM path."""
    if manifest.hardware is None or facts.hardware is None:
        return {}, {}
    before = _ranks(manifest.hardware, manifest.added)
    return before, _ranks(facts.hardware, facts.devices)


def _ranks(hardware: Hardware, added: Iterable[Device]) -> dict[str, str]:
    """Each one's type and its number among that type's."""
    paths = [device for device in added if device.id.startswith(ANONYMOUS)]
    paths.sort(key=lambda device: int("".join(filter(str.isdecimal, device.id)) or 0))
    counts: Counter[str] = Counter()
    ranks = {}
    for device in paths:
        counts[device.type] += 1
        ranks[device.id] = f"{device.type} {counts[device.type]}"
    for number, kind in hardware.built_in:
        counts[kind] += 1
        ranks[f"{BUILT_IN}/device[{number}]"] = f"{kind} {counts[kind]}"
    return ranks


def device_label(qdev: str, ranks: Mapping[str, str]) -> str:
    """What a device is called that lasts: its id, or its type and number among that type's."""
    path, bracket, rest = qdev.partition("]")
    return ranks.get(path + bracket, path + bracket) + rest


def _differs(subject: str, message: str, remedy: str = _AS_SAVED) -> Problem:
    return Problem("machine-differs", subject, message, remedy)


def _accelerator(was: Hardware, now: Hardware) -> Iterator[Problem]:
    if (was.accelerator, now.accelerator) == ("kvm", "tcg"):
        message = "the guest ran under KVM, and this VM has none: QEMU would not load its clock"
        yield _differs("vm", message, "start the VM with `-accel kvm`")


def _processors(was: Hardware, now: Hardware) -> Iterator[Problem]:
    if not (was.processors and now.processors):
        return
    if was.processors == now.processors:
        yield from _topology(was, now)
        return
    message = f"the guest had {was.processors} processors and this VM has {now.processors}"
    fewer = now.processors < was.processors
    if fewer or any(_has_queues_by_processor(function) for function in was.pci or ()):
        yield _differs("cpu", message, f"start the VM with {was.processors} (`-smp`)")
    else:
        yield Problem(CPU_DIFFERS, "cpu", message, _ACCEPT)
        yield from _topology(was, now)


def _has_queues_by_processor(function: PciFunction) -> bool:
    return function.vendor == _VIRTIO and function.device in _QUEUES_FOLLOW_PROCESSORS


def _processor_type(was: Hardware, now: Hardware) -> Iterator[Problem]:
    if was.processor_type and now.processor_type and was.processor_type != now.processor_type:
        message = (
            f"the processor was a {was.processor_type!r} and is a {now.processor_type!r}; QEMU would "
            "load the state all the same, and the guest go on with features that may not be there"
        )
        yield Problem(CPU_DIFFERS, "cpu", message, _ACCEPT)
    elif was.features and now.features and (lost := _lost_features(was, now)):
        message = f"the processor has lost features that the guest may use: CPUID {', '.join(lost)}"
        yield Problem(CPU_DIFFERS, "cpu", message, _ACCEPT)


def _lost_features(was: Hardware, now: Hardware) -> list[str]:
    has = dict(now.features)
    return [
        f"{register} bits {gone:#x}"
        for register, bits in was.features
        if (gone := bits & ~has.get(register, 0))
    ]


def _topology(was: Hardware, now: Hardware) -> Iterator[Problem]:
    """Whether each processor is where it was; that there is room for more of them does not count."""
    if not (was.topology and now.topology):
        return
    before, after = _levels(was), _levels(now)
    together = range(min(was.processors, now.processors))
    if all(_place(before, number) == _place(after, number) for number in together):
        return
    message = f"processors of a socket were {_in_words(before)} and are {_in_words(after)}"
    if any(_apic_id(before, number) != _apic_id(after, number) for number in together):
        yield _differs("cpu", f"{message}: they have other APIC ids")
    else:
        yield Problem(CPU_DIFFERS, "cpu", message, _ACCEPT)


def _levels(hardware: Hardware) -> dict[str, int]:
    """The levels, the innermost first; one that this QEMU does not know has a single member."""
    known = dict(hardware.topology)
    return {level: max(known.get(level, 1), 1) for level in _LEVELS}


def _in_words(levels: Mapping[str, int]) -> str:
    words = [f"{number} {level}" for level, number in levels.items() if number > 1]
    return " by ".join(words) or "single"


def _place(levels: Mapping[str, int], number: int) -> tuple[int, ...]:
    """Which of its level a processor is, from the innermost level to the socket."""
    place = []
    for size in levels.values():
        number, within = divmod(number, size)
        place.append(within)
    return (*place, number)


def _apic_id(levels: Mapping[str, int], number: int) -> int:
    """What a PC's processor is called: each level takes as many bits as it needs."""
    made, shift = 0, 0
    *places, socket = _place(levels, number)
    for size, within in zip(levels.values(), places, strict=True):
        made |= within << shift
        shift += (size - 1).bit_length()
    return made | socket << shift


def _memory(was: Hardware, now: Hardware) -> Iterator[Problem]:
    slots = (was.memory_slots, now.memory_slots)
    if None not in slots and slots[0] != slots[1]:
        message = f"the VM had {slots[0]} slots for memory and has {slots[1]}"
        yield _differs(
            "memory", message, "start the VM with the `-m` that it had, `slots=` included"
        )
    if not now.memory_backends:
        return
    for name in was.memory_backends:
        if name not in now.memory_backends:
            message = f"the memory of the object {name!r} is not there: QEMU knows memory by its id"
            yield _differs("memory", message)


def _firmware(was: Hardware, now: Hardware) -> Iterator[Problem]:
    if not (was.firmware and now.firmware):
        return
    sizes = dict(now.firmware)
    for name, size in was.firmware:
        if name not in sizes:
            message = f"the firmware's memory {name!r} ({size} bytes) is not there"
            yield _differs("firmware", message, "start the VM with the firmware that it had")
        elif sizes[name] != size:
            message = f"the firmware's memory {name!r} had {size} bytes and has {sizes[name]}"
            yield _differs("firmware", message, "start the VM with the firmware that it had")


def _types(devices: Iterable[Device]) -> Counter[str]:
    """How many devices of each type there are; processors have their own check."""
    return Counter(device.type for device in devices if not device.type.endswith(PROCESSOR))


def _missing(was: Counter[str], now: Counter[str]) -> Counter[str]:
    """Types that there are fewer of than there were, with how many fewer."""
    gone = was - now
    return Counter({kind: count for kind, count in gone.items() if kind not in _STATELESS})


def _added(
    was: Iterable[Device], now: Iterable[Device], missing: Mapping[str, int]
) -> Iterator[Problem]:
    before, after = _types(was), _types(now)
    for kind in sorted(missing):
        had, has = before[kind], after[kind]
        ids = {device.id for device in was if device.type == kind}
        ids -= {device.id for device in now if device.type == kind}
        named = sorted(id_ for id_ in ids if not id_.startswith("/"))
        which = f" ({', '.join(named)})" if named else ""
        now_has = has or "none"
        yield _differs(kind, f"the VM had {had} of this device{which} and has {now_has}")
    for kind in _PORTS:
        if after[kind] > before[kind] and any(before[port] for port in _PORTS):
            message = f"the VM had {before[kind]} ports of this type and has {after[kind]}"
            yield _differs(kind, message)


def _built_in(was: Hardware, now: Hardware) -> Iterator[Problem]:
    if not (was.built_in and now.built_in):
        return
    for kind in sorted(_missing(_built_in_types(was), _built_in_types(now))):
        if was.accelerator == now.accelerator or not kind.startswith("kvm"):
            message = "the machine had this device by itself, and has it no longer"
            yield _differs(kind, message, "start the VM with the `-machine` options that it had")


def _built_in_types(hardware: Hardware) -> Counter[str]:
    """KVM's own interrupt controllers and timer read the state of the others, and the others theirs."""
    types = (kind for _, kind in hardware.built_in)
    return Counter(_KVM_HAS_ITS_OWN.get(kind, kind) for kind in types)


def _pci(was: Hardware, now: Hardware, told: set[str]) -> Iterator[Problem]:
    """Every PCI function where it was; ``told`` are ids of devices that are missing anyway."""
    if was.pci is None or now.pci is None:
        return
    functions = {function.address: function for function in now.pci}
    closed = tuple(f"{function.address}/" for function in now.pci if function.closed)
    for before in was.pci:
        after = functions.get(before.address)
        if before.id in told or before.address.startswith(closed):
            continue
        where = f"PCI {before.address}"
        if after is None:
            yield _differs(where, f"{before} was there, and nothing is now")
        elif after.identity != before.identity:
            yield _differs(where, f"{before} was there, and {after} is now")
        elif after.regions != before.regions:
            message = f"{before} had memory {_sizes(before)} and has {_sizes(after)}"
            yield _differs(where, message, "give the device the options that it had")


def _sizes(function: PciFunction) -> str:
    return ", ".join(f"{size} (region {number})" for number, size in function.regions) or "none"
