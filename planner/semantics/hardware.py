"""What QEMU says of a machine: its processors, its PCI buses, and the places of its object model.

Rules: an answer is built from `planner.model.hardware.Hardware` alone, so that a survey of it finds
that again; what a survey does not read is left out or stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planner.model.hardware import BUILT_IN, Hardware, PciFunction
from planner.model.peripherals import OBJECTS
from planner.semantics.state import GuestMachine

__all__ = [
    "hardware_children",
    "hardware_properties",
    "query_kvm",
    "query_pci",
    "query_processors",
]

Reply = dict[str, object]
_MACHINE = ("/machine", "machine")
_BRIDGE = 1540


def query_kvm(hardware: Hardware) -> Reply:
    """The command `query-kvm`."""
    return {"enabled": hardware.accelerator == "kvm", "present": True}


def query_processors(machine: GuestMachine) -> list[Reply]:
    """The command `query-cpus-fast`."""
    return [
        {
            "thread-id": 1000 + number,
            "props": {"core-id": 0, "thread-id": 0, "socket-id": number},
            "qom-path": f"{BUILT_IN}/device[{place}]",
            "cpu-index": number,
            "target": machine.target,
        }
        for number, place in enumerate(_places(machine.hardware))
    ]


def _places(hardware: Hardware) -> list[int]:
    """Numbers, among the machine's own devices, that are the processors'."""
    taken = {number for number, _ in hardware.built_in}
    free = (number for number in range(len(taken) + hardware.processors) if number not in taken)
    return [number for number, _ in zip(free, range(hardware.processors), strict=False)]


def query_pci(hardware: Hardware) -> list[Reply]:
    """The command `query-pci`: a bus for each root, and behind bridges what is there."""
    roots: dict[int, list[PciFunction]] = {}
    for function in hardware.pci or ():
        bus, colon, address = function.address.rpartition(":")
        if "/" not in address:
            roots.setdefault(int(bus, 16) if colon else 0, []).append(function)
    return [
        {"bus": bus, "devices": [_device(function, hardware.pci or (), bus) for function in found]}
        for bus, found in sorted((roots or {0: []}).items())
    ]


def _device(function: PciFunction, every: Iterable[PciFunction], bus: int) -> Reply:
    slot, _, number = function.address.rpartition("/")[2].rpartition(":")[2].partition(".")
    device: Reply = {
        "bus": bus,
        "slot": int(slot, 16),
        "function": int(number, 16),
        "class_info": {"class": 0, **({"desc": function.kind} if function.kind else {})},
        "id": {
            "vendor": function.vendor,
            "device": function.device,
            "subsystem-vendor": function.subsystem_vendor,
            "subsystem": function.subsystem,
        },
        "irq_pin": 0,
        "qdev_id": function.id,
        "regions": [
            {"bar": region, "size": size, "address": -1, "type": "memory"}
            for region, size in function.regions
        ],
    }
    start = f"{function.address}/"
    inner = [
        other
        for other in every
        if other.address.startswith(start) and "/" not in other.address[len(start) :]
    ]
    if inner or function.closed:
        secondary = 0 if function.closed else bus + 1
        device["class_info"] = {"class": _BRIDGE, "desc": function.kind}
        device["pci_bridge"] = {
            "bus": {"number": bus, "secondary": secondary, "subordinate": secondary},
            "devices": [_device(other, every, secondary) for other in inner],
        }
    return device


def hardware_children(hardware: Hardware, path: str) -> Iterator[tuple[str, str]]:
    """What is at a place of the object model: name and type."""
    if path == BUILT_IN:
        for number in _places(hardware):
            yield f"device[{number}]", hardware.processor_type
        yield from ((f"device[{number}]", kind) for number, kind in hardware.built_in)
    elif path == OBJECTS:
        yield from ((name, "memory-backend-ram") for name in hardware.memory_backends)
    elif path in _MACHINE:
        flashes = (name for name, _ in hardware.firmware if "flash" in name)
        yield from ((name, "cfi.pflash01") for name in flashes)


def hardware_properties(hardware: Hardware, path: str) -> Reply | None:
    """The properties of a place; None: it is not one of these."""
    if path in _MACHINE:
        made: Reply = {}
        if hardware.topology:
            made["smp"] = {"cpus": hardware.processors, **dict(hardware.topology)}
        if hardware.memory_slots is not None:
            slots = {"slots": hardware.memory_slots} if hardware.memory_slots else {}
            made["memory"] = {"size": 0, **slots}
        return made
    for name, size in hardware.firmware:
        parent = f"/machine/{name}" if "flash" in name else BUILT_IN
        if path == f"{parent}/{name}[0]":
            return {"type": "memory-region", "size": size}
    places = _places(hardware)
    if places and hardware.features and path == f"{BUILT_IN}/device[{places[0]}]":
        return {"type": hardware.processor_type, "feature-words": _feature_words(hardware)}
    return None


def _feature_words(hardware: Hardware) -> list[Reply]:
    words = []
    for name, bits in hardware.features:
        leaf, *which, register = name.split(".")
        word: Reply = {"cpuid-input-eax": int(leaf, 16), "cpuid-register": register.upper()}
        if which:
            word["cpuid-input-ecx"] = int(which[0], 16)
        words.append({**word, "features": bits})
    return words
