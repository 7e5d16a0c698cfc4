"""What a store keeps beside snapshots: restores, and the records of what is gone."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from backends.copies import RestoringHost
from backends.host import QemuHost
from backends.images import QemuImages
from planner.errors import Problem, Refused
from planner.library.progress import OnProgress, ProgressReporter
from planner.library.stores import Folder, store_at
from planner.store.promoting import Promoted
from planner.store.restores import KnownRestore
from planner.verbs import restores
from planner.verbs.context import Consent, Offline, Question, agreed
from planner.verbs.forget import Forgotten
from planner.verbs.forget import forget_snapshot as forget_record

__all__ = [
    "ListedRestores",
    "drop_restore",
    "forget_snapshot",
    "list_restores",
    "promote_restore",
]


@frozen
class ListedRestores:
    """The restores of every VM of a store.

    Attributes:
        found: Each as it stands: `KnownRestore.restore` is its record, `there` those of its files
            that are there, `runs` whether its QEMU is (None: that cannot be told).
        problems: Which records cannot be read.
    """

    found: tuple[KnownRestore, ...]
    problems: tuple[Problem, ...]


def list_restores(store: Folder = None) -> ListedRestores:
    """The restores of every VM of a store: VMs that were started from a snapshot.  Changes nothing.

    Raises:
        BadInput: The store cannot be read.
    """
    return ListedRestores(*restores.list_restores(store_at(store)))


def promote_restore(source: str | Path, *, store: Folder = None) -> Promoted:
    """Have a restore's disks be the VM's from now on; no image is touched, and none is lost.

    Args:
        source: The restore's name (``TAG.restored-NUMBER``), or the file of its record.
        store: Where it is recorded.

    Returns:
        What QEMU is to be started with from now on (`Promoted.start_with`), and what was set aside
        (`Promoted.known`): `drop_restore` removes that, and promoting again changes back.

    Raises:
        BadInput: There is no such restore, or the store cannot be written.
        Refused: Its files are not all there, or not those that it made (``promote-refused``).
    """
    return restores.promote_restore(store_at(store), str(source))


async def drop_restore(
    source: str | Path, *, store: Folder = None, on_progress: OnProgress | None = None
) -> KnownRestore:
    """Remove the files of a restore whose QEMU has ended, or those that were set aside, for good.

    What a guest wrote to them is lost; to call this is to agree to that.

    Args:
        source: The restore's name, or the file of its record.
        store: Where it is recorded.
        on_progress: Called with what is being done.

    Returns:
        What was dropped.  A drop that was interrupted is finished by another one.

    Raises:
        BadInput: There is no such restore.
        Refused: Its QEMU lives, or a snapshot needs a file; nothing was removed (``drop-refused``).
        RunFailed: A file is left (``file-left``).
    """
    reporter = None if on_progress is None else ProgressReporter(on_progress)
    offline = Offline(store_at(store), QemuImages(), RestoringHost(), reporter)
    return await restores.drop_restore(offline, str(source))


async def forget_snapshot(
    source: str | Path, *, vm: str = "", even_if_there: bool = False, store: Folder = None
) -> Forgotten:
    """Take a snapshot's record away, and none of its parts: for one whose images are gone.

    Args:
        source: A tag that the store has, or a manifest's file.
        vm: The name or UUID of the VM that the tag is of; empty: the only one that has it.
        even_if_there: Whether it goes although a part is still there, or nobody can tell: snapplan then
            neither loads, deletes nor protects it any more.
        store: Where it is recorded.

    Returns:
        Its tag, and the parts that are nobody's from now on.

    Raises:
        BadInput: There is no such manifest, or it cannot be removed.
        Refused: A part is still there, or may be (``part-there``); an unfinished run concerns it.  The
            record is as it was.
    """
    consent: Consent = agreed if even_if_there else _only_what_is_gone
    offline = Offline(store_at(store), QemuImages(), QemuHost(), consent=consent, vm_name=vm)
    return await forget_record(offline, str(source))


def _only_what_is_gone(question: Question) -> bool:
    problem = Problem("part-there", question.subject, question.loss, "pass even_if_there=True")
    raise Refused.of(problem)
