"""Asks a VM everything that its facts hold.  Changes nothing in the VM."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

from attrs import evolve

from planner.errors import CannotConnect, Problem
from planner.model.facts import Facts
from planner.model.facts_replies import Replies, facts_from_replies
from planner.model.peripherals import (
    ANONYMOUS,
    BACKEND_PROPERTIES,
    CHARDEVS,
    MEMORY_BACKEND,
    NAMED,
    NETDEV,
    OBJECTS,
    Device,
    HostObject,
    children_of,
    devices_of,
    netdevs_of,
    peer_of,
)
from planner.program.schema import kept_schema
from planner.run.actions import ErrorReply, NoAnswer, Response, Returned, Send
from planner.run.survey_hardware import survey_hardware

__all__ = ["survey"]

Asking = Generator[Send, Response, object]

_CHARDEV = "chardev"
_TPM = "tpm-"
_HMP_NETWORK = "info network"
_PRIVATE_MEMORY = "memory-backend-ram"
_FILE_MEMORY = "memory-backend-file"
_WORKS_ON_MEMORY = ("cryptodev-vhost-user", NETDEV)
"""Objects, other than memory, that let another process write to the guest's memory."""
_NETWORK_CARD = "virtio-net-"


def survey() -> Generator[Send, Response, Facts]:
    """Ask for the facts; the VM is the same afterwards.

    Raises:
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    version = yield from _ask("query-version")
    schema = yield from _ask("query-qmp-schema")
    block_jobs = yield from _ask("query-block-jobs")
    # The graph is an unstable interface, and only needed to see which disks a job uses.
    graph = (yield from _ask_if_known("x-debug-query-block-graph")) if block_jobs else None
    devices = yield from _devices()
    has_tpm = any(device.type.startswith(_TPM) for device in devices)
    return facts_from_replies(
        Replies(
            version=version,
            schema=_schema(schema),
            block_jobs=block_jobs,
            block_graph=graph,
            machine=(yield from _ask("qom-get", path="/machine", property="type")),
            target=(yield from _ask_if_known("query-target")),
            name=(yield from _ask_if_known("query-name")),
            uuid=(yield from _ask_if_known("query-uuid")),
            jobs=(yield from _ask("query-jobs")),
            migrate=(yield from _ask("query-migrate")),
            capabilities=(yield from _ask_if_known("query-migrate-capabilities")),
            parameters=(yield from _ask_if_known("query-migrate-parameters")),
            memory=(yield from _ask_if_known("query-memory-size-summary")),
            devices=devices,
            tpms=(yield from _ask_if_known("query-tpm")) if has_tpm else None,
            objects=(yield from _objects(devices)),
            hardware=(yield from survey_hardware(_ask_if_known)),
            block=(yield from _ask("query-block")),
            blockstats=(yield from _ask("query-blockstats")),
            named_block_nodes=(yield from _ask("query-named-block-nodes", flat=True)),
            status=(yield from _ask("query-status")),
        )
    )


def _devices() -> Generator[Send, Response, tuple[Device, ...]]:
    """The devices that the user added, those outside the block layer with what they work on."""
    named = yield from _ask_if_known("qom-list", path=NAMED)
    anonymous = yield from _ask_if_known("qom-list", path=ANONYMOUS)
    found = []
    for device in devices_of(named, anonymous):
        uses, peer = "", ""
        for start, name in BACKEND_PROPERTIES:
            if device.type.startswith(start) and not uses:
                uses = yield from _property(device.path, name)
                peer = (yield from _peer(uses)) if name == _CHARDEV and uses else ""
        found.append(evolve(device, uses=uses.removeprefix(f"{OBJECTS}/"), peer=peer))
    return tuple(found)


def _peer(chardev: str) -> Generator[Send, Response, str]:
    # `query-chardev` of 7.2 shows no path of what is connected (fact 134).
    address = yield from _ask_if_known("qom-get", path=f"{CHARDEVS}/{chardev}", property="addr")
    return peer_of(address)


def _objects(
    devices: tuple[Device, ...],
) -> Generator[Send, Response, tuple[HostObject, ...]]:
    """What ``-object`` made; memory that is not QEMU's own with whom it is shared and its file."""
    found = []
    for name, kind in children_of((yield from _ask_if_known("qom-list", path=OBJECTS))):
        if kind.startswith(MEMORY_BACKEND) and kind != _PRIVATE_MEMORY:
            path = f"{OBJECTS}/{name}"
            shared = (yield from _ask_if_known("qom-get", path=path, property="share")) is True
            file = (yield from _property(path, "mem-path")) if kind == _FILE_MEMORY else ""
            found.append(HostObject(name, kind, shared, file))
        elif kind.startswith(_WORKS_ON_MEMORY):
            found.append(HostObject(name, kind))
    if any(device.type.startswith(_NETWORK_CARD) for device in devices):
        # No QMP command lists network backends, of which some write to the guest's memory themselves.
        text = yield from _ask_if_known("human-monitor-command", **{"command-line": _HMP_NETWORK})
        found += netdevs_of(text)
    return tuple(sorted(found))


def _property(path: str, name: str) -> Generator[Send, Response, str]:
    value = yield from _ask_if_known("qom-get", path=path, property=name)
    return value if isinstance(value, str) else ""


def _schema(reply: object) -> tuple[dict[str, object], ...]:
    try:
        return cast("tuple[dict[str, object], ...]", kept_schema(reply))
    except ValueError as error:
        problem = Problem("reply-malformed", "query-qmp-schema", str(error))
        raise CannotConnect.of(problem) from error


def _ask(command: str, **arguments: object) -> Asking:
    response = yield Send(command, arguments)
    if isinstance(response, Returned):
        return response.value
    words = response.description if isinstance(response, ErrorReply) else response.why
    why = f"no usable answer to {command}: {words}"
    problem = Problem("query-failed", command, why, "is another client connected to this socket?")
    raise CannotConnect(why, problems=(problem,), code=problem.code)


def _ask_if_known(command: str, **arguments: object) -> Asking:
    response = yield Send(command, arguments)
    if isinstance(response, NoAnswer):
        raise CannotConnect(f"no answer to {command}: {response.why}", code="query-failed")
    return response.value if isinstance(response, Returned) else None
