"""The machine that a machine state fits: processors, memory, firmware, and where which device sits.

QEMU reads a machine state section by section and looks for each in the machine that it has: a device,
a processor or a block of memory that is missing, or has another size, ends the load, when the disks are
reverted already (fact 62).  What is more than was saved it leaves as after a reset.  So what is kept of
a machine is what a section depends on, as far as QMP shows it; what only the host sees, the backend of a
network card, ids, MAC addresses, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from planner.model.answer import AnswerObject, answer_objects
from planner.model.peripherals import MEMORY_BACKEND, children_of

__all__ = [
    "BUILT_IN",
    "PROCESSOR",
    "Hardware",
    "HardwareReplies",
    "PciFunction",
    "first_processor",
    "flashes_of",
    "hardware_from_replies",
]

BUILT_IN = "/machine/unattached"
"""Where QEMU keeps the devices that the machine has by itself."""
_NUMBERED = "device["
"""How it calls them there."""
PROCESSOR = "-cpu"
"""How the types of processors end."""
_FLASH = "cfi.pflash"
_TOPOLOGY = ("dies", "clusters", "modules", "cores", "threads")


@frozen(order=True)
class PciFunction:
    """One function of a PCI device.

    Attributes:
        address: Slot and function, in hexadecimal; behind bridges after theirs, with a ``/``.
        vendor: Of the device, as the guest reads it.
        device: The same.
        subsystem_vendor: The same.
        subsystem: The same.
        kind: What it is, in QEMU's words; empty where QEMU has none.
        id: The id that the user gave it, or empty.
        regions: Its memory regions and ports: number and bytes.
        closed: Whether it is a bridge that no firmware has numbered yet: QEMU does not show what is
            behind it.
    """

    address: str
    vendor: int
    device: int
    subsystem_vendor: int = 0
    subsystem: int = 0
    kind: str = ""
    id: str = ""
    regions: tuple[tuple[int, int], ...] = ()
    closed: bool = False

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """By which the guest knows what it is."""
        return self.vendor, self.device, self.subsystem_vendor, self.subsystem

    def __str__(self) -> str:
        kind = f"{self.kind}, " if self.kind else ""
        called = f" {self.id!r}" if self.id else ""
        return f"{kind}{self.vendor:04x}:{self.device:04x}{called}"


@frozen
class Hardware:
    """A machine, as far as it could be asked; what could not is zero, empty, or None.

    Attributes:
        processors: How many there are.
        topology: How those of a socket are told apart: level and number, the outermost first.
        processor_type: Type of the first one.
        features: What CPUID says of it: register and bits, where there are any.
        accelerator: ``kvm``, ``tcg``, or empty.
        memory_slots: For memory that is plugged in; None: not known.
        memory_backends: Ids of the objects that hold memory; the machine state names memory by them.
        firmware: Memory that holds firmware: name and bytes.
        built_in: The devices that the machine has by itself, but processors: number and type.
        pci: Every PCI function; None: not known.
    """

    processors: int = 0
    topology: tuple[tuple[str, int], ...] = ()
    processor_type: str = ""
    features: tuple[tuple[str, int], ...] = ()
    accelerator: str = ""
    memory_slots: int | None = None
    memory_backends: tuple[str, ...] = ()
    firmware: tuple[tuple[str, int], ...] = ()
    built_in: tuple[tuple[int, str], ...] = ()
    pci: tuple[PciFunction, ...] | None = None


@frozen
class HardwareReplies:
    """What a VM answered to the questions about its machine; None: it does not know the question.

    Attributes:
        processors: `query-cpus-fast`.
        pci: `query-pci`.
        kvm: `query-kvm`.
        built_in: `qom-list` of `BUILT_IN`.
        objects: `qom-list` of ``/objects``.
        topology: `qom-get` of the machine's ``smp``.
        memory: `qom-get` of its ``memory``.
        features: `qom-get` of the first processor's ``feature-words``.
        firmware: Memory that holds firmware, put together already.
    """

    processors: object = None
    pci: object = None
    kvm: object = None
    built_in: object = None
    objects: object = None
    topology: object = None
    memory: object = None
    features: object = None
    firmware: tuple[tuple[str, int], ...] = ()


def hardware_from_replies(replies: HardwareReplies) -> Hardware:
    """Put the answers together.

    Raises:
        CannotConnect: An answer has another shape than QMP says (code ``reply-malformed``).
    """
    built_in = sorted(_built_in(replies.built_in))
    backends = [
        name for name, kind in children_of(replies.objects or []) if kind.startswith(MEMORY_BACKEND)
    ]
    processors = answer_objects(replies.processors or [], "query-cpus-fast")
    return Hardware(
        processors=len(processors),
        topology=_topology(replies.topology),
        processor_type=next((kind for _, kind in built_in if kind.endswith(PROCESSOR)), ""),
        features=tuple(_features(replies.features)),
        accelerator=_accelerator(replies.kvm),
        memory_slots=_slots(replies.memory),
        memory_backends=tuple(sorted(backends)),
        firmware=replies.firmware,
        built_in=tuple(each for each in built_in if not each[1].endswith(PROCESSOR)),
        pci=None if replies.pci is None else tuple(sorted(_pci(replies.pci))),
    )


def _built_in(reply: object) -> Iterator[tuple[int, str]]:
    for name, kind in children_of(reply or []):
        number = name.removeprefix(_NUMBERED).removesuffix("]")
        if name.startswith(_NUMBERED) and number.isdecimal():
            yield int(number), kind


def first_processor(reply: object) -> str:
    """QOM path of the first processor in an answer to `query-cpus-fast`; empty: there is none."""
    for entry in answer_objects(reply or [], "query-cpus-fast"):
        return entry.text("qom-path", "")
    return ""


def flashes_of(reply: object) -> tuple[str, ...]:
    """The flash memories in an answer to `qom-list` of ``/machine``."""
    return tuple(sorted(name for name, kind in children_of(reply or []) if kind.startswith(_FLASH)))


def _accelerator(reply: object) -> str:
    if reply is None:
        return ""
    return "kvm" if AnswerObject.of(reply, "query-kvm").flag("enabled") else "tcg"


# What `qom-get` says has no schema: another shape is no answer.


def _topology(reply: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(reply, Mapping):
        return ()
    levels = [(level, reply.get(level)) for level in _TOPOLOGY]
    return tuple([(level, number) for level, number in levels if type(number) is int])


def _slots(reply: object) -> int | None:
    if not isinstance(reply, Mapping):
        return None
    slots = reply.get("slots", 0)
    return slots if type(slots) is int else None


def _features(reply: object) -> Iterator[tuple[str, int]]:
    found = []
    for word in reply if isinstance(reply, list) else ():
        if not isinstance(word, Mapping):
            continue
        leaf, register = word.get("cpuid-input-eax"), word.get("cpuid-register")
        index, bits = word.get("cpuid-input-ecx"), word.get("features")
        if type(leaf) is int and isinstance(register, str) and type(bits) is int and bits:
            which = f".{index:x}" if type(index) is int else ""
            found.append((f"{leaf:08x}{which}.{register.lower()}", bits))
    yield from sorted(found)


def _pci(reply: object) -> Iterator[PciFunction]:
    for bus in answer_objects(reply, "query-pci"):
        number = bus.number("bus")
        before = f"{number:02x}:" if number else ""
        for device in bus.members("devices"):
            yield from _functions(device, before)


def _functions(device: AnswerObject, before: str) -> Iterator[PciFunction]:
    known = device.member("id")
    bridge = device.value.get("pci_bridge")
    behind = device.member("pci_bridge")
    address = f"{before}{device.number('slot'):02x}.{device.number('function'):x}"
    regions = [(entry.number("bar"), entry.number("size")) for entry in device.members("regions")]
    yield PciFunction(
        address,
        known.number("vendor"),
        known.number("device"),
        known.number("subsystem-vendor", 0),
        known.number("subsystem", 0),
        device.member("class_info").text("desc", ""),
        device.text("qdev_id", ""),
        tuple(sorted(regions)),
        closed=bridge is not None and not behind.member("bus").number("secondary", 0),
    )
    for inner in behind.members("devices"):
        yield from _functions(inner, f"{address}/")
