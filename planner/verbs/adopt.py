"""Adopt: records a snapshot that somebody else made, so that it can be verified, loaded and deleted."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from attrs import frozen

from planner.errors import Problem, Refused
from planner.parts.manifest import Manifest
from planner.save.adopting import adopted_manifest
from planner.store.held import met_and_locked
from planner.store.journaled import check_nothing_pending
from planner.verbs.context import Context

__all__ = ["Adopted", "adopt"]


@frozen
class Adopted:
    """A snapshot that has a manifest now.

    Attributes:
        manifest: What is recorded; ``unproved`` says what no check could show.
        path: Where.
    """

    manifest: Manifest
    path: Path


async def adopt(context: Context, tag: str, exclude: Collection[str] = ()) -> Adopted:
    """Record a snapshot that the disks of a running VM hold; no disk is changed.

    Args:
        context: The VM, connected.
        tag: What the snapshot is called on the disks.
        exclude: Writable disks that are no part of it.

    Raises:
        BadInput: No disk holds it, a name means no disk, or the manifest cannot be written.
        Refused: It is recorded already (``tag-taken``), it is no snapshot of one instant
            (``adopt-refused``), or an earlier run did not end.
        CannotConnect: The VM does not answer.
    """
    async with met_and_locked(context.backend, context.store, context.address) as held:
        met, vm = held.met, held.vm
        check_nothing_pending(vm)
        recorded = [vm.manifest(tag), *(each for _, each in met.store.inherited(met.identity, vm))]
        if any(each is not None and each.tag == tag for each in recorded):
            words = "a snapshot of this tag is recorded already"
            remedy = "`snapplan delete --forget` gives that record up"
            problem = Problem("tag-taken", tag, words, remedy)
            raise Refused.of(problem)
        facts = await held.facts()
        manifest = adopted_manifest(tag, facts, address=met.identity.address, exclude=exclude)
        return Adopted(manifest, vm.write(manifest))
