"""Everything that QEMU was asked, put together into the facts of a VM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

from planner.model.answer import AnswerObject, answer_objects, malformed
from planner.model.disk_replies import DiskReplies, disks_of
from planner.model.facts import (
    Drive,
    Facts,
    QemuVersion,
)
from planner.model.hardware import Hardware
from planner.model.migration import LIMITS, ORDINARY, Setting
from planner.model.node_names import TAGS_KEY
from planner.model.peripherals import Device, HostObject, tpms_of
from planner.model.replies import jobs_of, optional_text, run_state_of, vm_name_of, vm_uuid_of

__all__ = ["Replies", "facts_from_replies", "version_of"]


@frozen(kw_only=True)
class Replies(DiskReplies):
    """What a VM answered to the questions of a survey, each as it came.

    Attributes are named after the QMP commands; ``block_graph`` is None where no block job ran.
    ``devices``, ``objects`` and ``hardware`` took several questions, and are put together already.
    """

    version: object
    status: object
    jobs: object
    migrate: object
    schema: tuple[Mapping[str, object], ...]
    machine: object = ""
    target: object = None
    name: object = None
    uuid: object = None
    capabilities: object = None
    parameters: object = None
    memory: object = None
    devices: tuple[Device, ...] = ()
    tpms: object = None
    objects: tuple[HostObject, ...] = ()
    hardware: Hardware | None = None


def facts_from_replies(replies: Replies) -> Facts:
    """Put the answers together.

    Raises:
        CannotConnect: An answer has another shape than QMP says (code ``reply-malformed``).
    """
    run_state = run_state_of(replies.status)
    disks, live_nodes = disks_of(replies)
    if run_state != "io-error":  # QEMU may go on to show an error that is mended (fact 68)
        disks = tuple(evolve(disk, io_error="") if disk.io_error else disk for disk in disks)
    migrate = AnswerObject.of(replies.migrate, "query-migrate")
    return Facts(
        qemu=version_of(replies.version),
        machine=_machine(replies.machine),
        run_state=run_state,
        disks=disks,
        target=optional_text(replies.target, "query-target", "arch"),
        jobs=tuple(sorted(job for job, _ in jobs_of(replies.jobs))),
        migration=migrate.text("status", ""),
        migration_error=migrate.text("error-desc", ""),
        blocked_reasons=migrate.texts("blocked-reasons"),
        capabilities=_capabilities(replies.capabilities),
        parameters=_parameters(replies.parameters),
        schema=replies.schema,
        vm_name=vm_name_of(replies.name),
        vm_uuid=vm_uuid_of(replies.uuid),
        memory_bytes=_memory_bytes(replies.memory),
        devices=replies.devices,
        tpms=tpms_of(replies.tpms),
        objects=replies.objects,
        hardware=replies.hardware,
        drives=tuple(sorted(_drives(replies.block))),
        taken_tags=_taken_tags(replies.name),
        live_nodes=live_nodes,
    )


def _taken_tags(reply: object) -> tuple[str, ...]:
    return () if reply is None else AnswerObject.of(reply, "query-name").texts(TAGS_KEY)


def _drives(reply: object) -> Iterable[Drive]:
    for entry in answer_objects(reply, "query-block"):
        if entry.flag("removable", default=False):
            image = entry.member("inserted").member("image")
            yield Drive(
                entry.text("device", ""), entry.text("qdev", ""), image.text("filename", "")
            )


def _memory_bytes(reply: object) -> int:
    if reply is None:
        return 0
    top = AnswerObject.of(reply, "query-memory-size-summary")
    return top.number("base-memory") + top.number("plugged-memory", 0)


def _capabilities(reply: object) -> dict[str, bool]:
    entries = [] if reply is None else answer_objects(reply, "query-migrate-capabilities")
    found = {entry.text("capability"): entry.flag("state") for entry in entries}
    return dict(sorted(found.items()))


def _parameters(reply: object) -> dict[str, Setting]:
    if reply is None:
        return {}
    top = AnswerObject.of(reply, "query-migrate-parameters")
    found: dict[str, Setting] = {name: top.number(name) for name in LIMITS if name in top.value}
    for name, ordinary in ORDINARY.items():
        value = top.value.get(name)
        if isinstance(value, type(ordinary)) and value != ordinary:
            found[name] = value
    return found


def version_of(reply: object) -> QemuVersion:
    """QEMU's version, from what it answers to `query-version`.

    Raises:
        CannotConnect: It is no such answer.
    """
    top = AnswerObject.of(reply, "query-version")
    qemu = top.member("qemu")
    return QemuVersion(
        qemu.number("major"), qemu.number("minor"), qemu.number("micro"), top.text("package", "")
    )


def _machine(reply: object) -> str:
    if not isinstance(reply, str):
        raise malformed("qom-get", f"the machine type is {str(reply)[:40]!r}")
    return reply.removesuffix("-machine")
