"""Looks at a clone whose command line is not the template's own, as at any QEMU of a restore."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import evolve

from planner.load.fresh_qemu import RestoredDisk, RestorePlan
from planner.load.restored_vm import check_started
from planner.parts.accepting import Accepted
from planner.parts.overlay import FrozenImage
from planner.parts.readied import Readied
from planner.parts.stream import StateStream
from planner.run.ports import Backend
from planner.template.clone_plan import CloneDisk, ClonePlan

__all__ = ["look_of"]


def look_of(plan: ClonePlan, accepted: Accepted) -> Callable[[Backend], Coroutine[Any, Any, None]]:
    """What makes sure that a QEMU is the machine that was saved, on the clone's disks.

    It raises `Refused` where it is another one.

    Args:
        plan: The clone.
        accepted: What may differ.
    """
    disks = tuple(
        RestoredDisk(_frozen(disk), Readied.NEW_OVERLAY, disk.file, "qcow2") for disk in plan.disks
    )
    state = StateStream(disk="", file=plan.template.state.file, format="")
    shown = evolve(plan.manifest, parts=(*(disk.part for disk in disks), state))

    async def look(backend: Backend) -> None:
        await check_started(RestorePlan(shown, disks, state, accepted), backend)

    return look


def _frozen(disk: CloneDisk) -> FrozenImage:
    """What the clone's overlay lies on: a snapshot's frozen image, or a copy, under which is nothing."""
    part = disk.part
    if isinstance(part, FrozenImage):
        return part
    return FrozenImage(
        disk=part.disk,
        file=disk.base,
        format=disk.base_format,
        qdev=part.qdev,
        node=part.node,
        root=part.root,
        virtual_size_bytes=part.virtual_size_bytes,
        backing=(),
        overlay_file=disk.file,
    )
