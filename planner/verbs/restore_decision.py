"""What a restore is to do, decided before anything is done."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from planner.errors import BadInput, Problem, Refused
from planner.host.evidence import stream_sizes
from planner.host.files import stamps
from planner.host.left_out import look_at_left_out
from planner.host.reading import read_files
from planner.load.command_line import accepting_names, fill_template, names_from
from planner.load.fresh_qemu import RestorePlan, plan_restore
from planner.load.restoring import look_at_parts, names_taken
from planner.model.request import RunStateAfter
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted
from planner.parts.file_checks import file_notes
from planner.parts.manifest import Manifest
from planner.recover.pending_images import check_images_free
from planner.store.restores import numbers_taken
from planner.store.store import VmStore
from planner.verbs.context import Offline
from planner.verbs.find import FoundManifest
from planner.verbs.reading import on_read

__all__ = ["RestoreDecision", "RestoreWish", "decide_restore"]


@frozen
class RestoreWish:
    """How a snapshot is to be restored.

    Attributes:
        template: QEMU's command line with places for images, formats and the socket: as a line that is
            split into words as a shell would, or as words.
        socket: Where the new QEMU is to listen; empty: where the old one did.
        copies: Folder for copies, an absolute path; empty: images are reverted.
        run_state_after: Whether the guest runs in the end.
        deadline_s: How long QEMU may take to read its state, in seconds; None: an hour.
        accepted: What may differ.
        alone: Whether it may be a member's of a group, and the others stay as they are.
    """

    template: str | tuple[str, ...] = ""
    socket: str = ""
    copies: str = ""
    run_state_after: RunStateAfter = RunStateAfter.AS_BEFORE
    deadline_s: float | None = None
    accepted: Accepted = NOTHING_ACCEPTED
    alone: bool = False


@frozen
class RestoreDecision:
    """A restore, before somebody agrees to what it loses.

    Attributes:
        plan: What is to be done.
        socket: Where the new QEMU is to listen; empty: none is started.
        words: Its command line; empty: none is started.
        stamps: Of the files of the snapshot: what they hold now is what is lost.
        unproved: Of which files nothing proves that they are what was saved, in clauses.
        vm: The share of the store that has the snapshot; None: none has.
    """

    plan: RestorePlan
    socket: str
    words: tuple[str, ...]
    stamps: tuple[tuple[str, tuple[int, ...]], ...]
    unproved: tuple[str, ...]
    vm: VmStore | None


async def decide_restore(
    found: FoundManifest, vm: VmStore | None, wish: RestoreWish, offline: Offline
) -> RestoreDecision:
    """Look at the parts, and decide; nothing is changed, and it may be decided again.

    Raises:
        BadInput: The command line cannot be used.
        Refused: It cannot be restored safely, or a VM has an image open.
    """
    manifest = found.manifest
    check_images_free(offline.store, manifest, vm)
    images, unreadable = await look_at_parts(
        manifest, offline.unlocked(manifest).images, offline.keyring.secrets
    )
    if unreadable:
        message = f"snapshot {manifest.tag!r} cannot be restored safely"
        raise Refused(message, problems=unreadable, code="load-refused")
    saved = await read_files(manifest, on_read(offline.reporter))
    plan = plan_restore(
        *(manifest, images, stream_sizes(manifest), () if vm is None else vm.manifests().found),
        copies=wish.copies,
        taken=names_taken(manifest, wish.copies),
        files=look_at_left_out(manifest),
        accepted=accepting_names(wish.template, wish.accepted),
        saved=saved,
        numbers=numbers_taken(vm, manifest.tag),
    )
    socket = _socket(manifest, wish) if wish.template else ""
    words = _words(plan, wish, socket) if wish.template else ()
    unproved = tuple(file_notes(manifest, saved))
    return RestoreDecision(plan, socket, words, stamps(manifest.files), unproved, vm)


def _socket(manifest: Manifest, wish: RestoreWish) -> str:
    socket = wish.socket or manifest.address
    if not socket or "/" not in socket:
        remedy = "give --qmp PATH: the socket at which the new QEMU is to listen"
        problem = Problem("usage", manifest.tag, "the VM that was saved had no socket", remedy)
        raise BadInput.of(problem)
    return str(Path(socket).absolute())


def _words(plan: RestorePlan, wish: RestoreWish, socket: str) -> tuple[str, ...]:
    disks = {disk.part.disk: (disk.file, disk.format) for disk in plan.disks}
    own = names_from(plan.number, plan.manifest.tag, str(plan.manifest.ended_ns), socket)
    return (*fill_template(wish.template, disks, socket, own), *plan.arguments)
