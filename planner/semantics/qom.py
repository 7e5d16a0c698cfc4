"""The few places of QEMU's object model that are modelled: devices that were added, and objects.

Rules: a place that is not modelled is one that QEMU does not have; only what a survey reads of a device
or an object is a property of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from planner.model.hardware import BUILT_IN
from planner.model.peripherals import (
    ANONYMOUS,
    BACKEND_PROPERTIES,
    CHARDEVS,
    NAMED,
    OBJECTS,
    UNIX,
)
from planner.semantics.hardware import hardware_children, hardware_properties
from planner.semantics.result import CommandResult, QmpError, generic
from planner.semantics.state import GuestMachine, VmState

__all__ = ["qom_get", "qom_list", "query_tpm"]

Arguments = Mapping[str, object]
_TYPE = {"name": "type", "type": "string"}
_MEMORY_DEVICES = ("acpi-erst", "cxl-type3", "ivshmem-plain", "nvdimm", "nvme", "virtio-pmem")


def qom_list(state: VmState, arguments: Arguments) -> CommandResult:
    """What is at a path: its type, and its children."""
    path = cast("str", arguments["path"])
    if state.machine.daemon or path not in ("/machine", BUILT_IN, NAMED, ANONYMOUS, OBJECTS):
        return _not_found(state, path)
    children = [
        {"name": name, "type": f"child<{kind}>"} for name, kind in _children(state.machine, path)
    ]
    return CommandResult(state, [_TYPE, *children])


def qom_get(state: VmState, arguments: Arguments) -> CommandResult:
    """One property of the machine, of a device or of an object."""
    path, name = cast("str", arguments["path"]), cast("str", arguments["property"])
    properties = None if state.machine.daemon else _properties(state.machine, path)
    if properties is None:
        return _not_found(state, path)
    if name not in properties:
        return CommandResult(
            state, error=generic(f"Property '{properties['type']}.{name}' not found")
        )
    return CommandResult(state, properties[name])


def query_tpm(state: VmState) -> object:
    """The TPMs."""
    return [
        {"id": tpm.id, "model": tpm.model, "options": {"type": tpm.type, "data": {}}}
        for tpm in state.machine.tpms
    ]


def _not_found(state: VmState, path: str) -> CommandResult:
    return CommandResult(state, error=QmpError("DeviceNotFound", f"Device '{path}' not found"))


def _children(machine: GuestMachine, path: str) -> Iterator[tuple[str, str]]:
    if path == OBJECTS:
        yield from ((found.id, found.type) for found in machine.objects)
    known = {found.id for found in machine.objects}
    for name, kind in hardware_children(machine.hardware, path):
        if path != OBJECTS or name not in known:
            yield name, kind
    for device in machine.added:
        folder, _, name = device.path.rpartition("/")
        if folder == path:
            yield name, device.type


def _properties(machine: GuestMachine, path: str) -> dict[str, object] | None:
    of_hardware = hardware_properties(machine.hardware, path)
    if path in {"/machine", "machine"}:
        return {"type": machine.type, **(of_hardware or {})}
    if of_hardware is not None:
        return of_hardware
    for device in machine.added:
        if device.path == path:
            starts = (name for start, name in BACKEND_PROPERTIES if device.type.startswith(start))
            is_object = device.type.startswith(_MEMORY_DEVICES)
            uses = f"{OBJECTS}/{device.uses}" if is_object else device.uses
            return {"type": device.type, **dict.fromkeys(starts, uses)}
        if device.peer and path == f"{CHARDEVS}/{device.uses}":
            return {"type": "chardev-socket", "addr": _address(device.peer)}
    for found in machine.objects:
        if f"{OBJECTS}/{found.id}" == path:
            return {"type": found.type, "share": found.shared, "mem-path": found.path}
    return None


def _address(peer: str) -> dict[str, object]:
    """A `SocketAddress`, as a chardev has it that is connected there."""
    path = peer.removeprefix(UNIX)
    if path != peer:
        return {"type": "unix", "path": path}
    host, _, port = peer.rpartition(":")
    return {"type": "inet", "host": host, "port": port}
