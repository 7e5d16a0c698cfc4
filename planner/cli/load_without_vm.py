"""`snapplan load` where no VM is: into a fresh QEMU, or into the image files."""

from __future__ import annotations

from planner.present.load_view import reverted_text, reverted_to_plain
from planner.present.restore_view import (
    restore_text,
    restore_to_plain,
    restored_text,
    restored_to_plain,
)
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

__all__ = ["load_without_vm"]


async def load_without_vm(
    offline: Offline, source: str, wish: RestoreWish, *, ready: bool
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
    if not wish.template:
        plan = await show_restore(offline, source, wish)
        return restore_to_plain(plan, ready=False), restore_text(plan, ready=False)
    restored = await restore(offline, source, wish)
    return restored_to_plain(restored), restored_text(restored)
