"""`snapplan load` where no VM is: into a fresh QEMU, or into the image files."""

from __future__ import annotations

from attrs import frozen

from planner.errors import SnapplanError
from planner.model.request import RunStateAfter
from planner.present.clones_view import clones_text, clones_to_plain, spares_text
from planner.present.load_view import reverted_text, reverted_to_plain
from planner.present.restore_view import (
    restore_text,
    restore_to_plain,
    restored_text,
    restored_to_plain,
)
from planner.run.reporting import telling
from planner.verbs.clones import CloneWish, clone, has_template, keep_spares
from planner.verbs.context import Offline
from planner.verbs.find import find_in_store
from planner.verbs.restore import (
    goes_back_in_a_fresh_qemu,
    make_ready,
    restore,
    revert,
    show_restore,
)
from planner.verbs.restore_decision import RestoreWish

__all__ = ["Cloning", "load_without_vm"]


@frozen
class Cloning:
    """How a template is to be used.

    Attributes:
        count: How many clones are wanted; None: one VM, from the template where there is one.
        spare: Whether they are to wait for a load that takes them.
        never: Whether it is not to be used.
    """

    count: int | None = None
    spare: bool = False
    never: bool = False


async def load_without_vm(
    offline: Offline, source: str, wish: RestoreWish, cloning: Cloning, *, ready: bool
) -> tuple[dict[str, object], str]:
    """Do it, or show it; what was done as plain values and as text."""
    if ready:
        manifest = find_in_store(source, offline.store, offline.vm_name).manifest
        if not wish.copies and not goes_back_in_a_fresh_qemu(manifest):
            done = await revert(offline, source, wish)
            return reverted_to_plain(done.manifest, done.parts), reverted_text(
                done.manifest, done.parts
            )
        plan = await make_ready(offline, source, wish)
        return restore_to_plain(plan, ready=True), restore_text(plan, ready=True)
    if cloning.spare:
        waiting = await keep_spares(offline, source, _clones(wish, cloning.count or 1))
        return clones_to_plain(waiting, single=False), spares_text(waiting)
    if cloning.count or (wish.template and not cloning.never and has_template(offline, source)):
        try:
            cloned = await clone(offline, source, _clones(wish, cloning.count or 1))
            return clones_to_plain(cloned, single=cloning.count is None), clones_text(cloned)
        except SnapplanError as error:
            if cloning.count or error.code != "template-qemu-differs":
                raise
            telling(offline.reporter).note(
                f"restored without the template: {error.problems[0].message}"
            )
    if not wish.template:
        plan = await show_restore(offline, source, wish)
        return restore_to_plain(plan, ready=False), restore_text(plan, ready=False)
    restored = await restore(offline, source, wish)
    return restored_to_plain(restored), restored_text(restored)


def _clones(wish: RestoreWish, count: int) -> CloneWish:
    return CloneWish(
        wish.template,
        count,
        wish.socket,
        wish.copies,
        run=wish.run_state_after is not RunStateAfter.PAUSED,
        deadline_s=wish.deadline_s,
        accepted=wish.accepted,
    )
