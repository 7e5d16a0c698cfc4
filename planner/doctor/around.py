"""What a VM has around it: this machine, its tools, the store with its runs, sockets and images.

Rules: looks, and changes nothing; no lock is taken, so that nobody is kept out meanwhile.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from planner.doctor.finding import Area, Finding, Standing, wrong
from planner.errors import BadInput, Problem
from planner.host.listening import listening_qemus
from planner.host.rights import Rights, free_bytes, rights_of, system_words, user_words
from planner.host.version import snapplan_version
from planner.model.facts import Disk, Facts
from planner.parts.part import Seen
from planner.parts.part_image import images_of_vm
from planner.recover.recovery import Pending, pending_runs
from planner.store.finding import known_backends
from planner.store.store import Store, VmStore

__all__ = [
    "frozen_findings",
    "image_findings",
    "machine_findings",
    "qemu_findings",
    "run_findings",
    "socket_findings",
    "store_findings",
]

_LIBRARIES = (
    *("attrs", "cattrs", "click", "filelock", "networkx", "platformdirs"),
    *("PyYAML", "qemu.qmp", "rich", "libvirt-python"),
)
_LITTLE_BYTES = 64 * 2**20
_SHOWN = 8
_OTHERS = 0o077
_OTHERS_WRITE = 0o022


def machine_findings() -> Iterator[Finding]:
    """Which snapplan this is, and what it stands on."""
    yield _told("snapplan", snapplan_version())
    yield _told("Python", f"{platform.python_version()}, {', '.join(_libraries())}")
    yield _told("backends", ", ".join(known_backends()))
    yield _told("system", system_words())
    yield _told("user", user_words())


def _told(subject: str, message: str) -> Finding:
    return Finding(Area.HOST, Standing.GOOD, subject, message)


def _libraries() -> Iterator[str]:
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue


def qemu_findings() -> Iterator[Finding]:
    """The QEMUs of this machine, with the sockets that they listen at."""
    found = listening_qemus()
    for each in found[:_SHOWN]:
        where = ", ".join(each.sockets[:_SHOWN]) or "no socket that can be seen from here"
        yield Finding(Area.CONNECTION, Standing.GOOD, f"{each.name} {each.pid}", f"at {where}")
    if len(found) > _SHOWN:
        more = f"{len(found) - _SHOWN} more"
        yield Finding(Area.CONNECTION, Standing.GOOD, "QEMUs", more)
    if not found:
        message = "no process of this machine is one, as far as can be seen from here"
        yield Finding(Area.CONNECTION, Standing.GOOD, "QEMUs", message)


def socket_findings(place: str) -> Iterator[Finding]:
    """What is at the path of a socket; of another address nothing can be said.

    Args:
        place: An absolute path, or any other address.
    """
    if not place.startswith("/"):
        return
    rights = rights_of(place)
    if rights.kind == "socket" and not rights.writable:
        message = f"{rights.words}: we may not connect to it"
        remedy = "run snapplan as QEMU's user, or as root"
        yield wrong(Area.CONNECTION, Problem("no-access", place, message, remedy))
    elif rights.kind:
        yield Finding(Area.CONNECTION, Standing.GOOD, place, rights.words)


def store_findings(root: Path) -> Iterator[Finding]:
    """Whether the store can be read and written, and what it has."""
    rights, folder = rights_of(str(root)), root
    if not rights.kind:
        while not rights_of(str(folder)).kind and folder != folder.parent:
            folder = folder.parent
        above = rights_of(str(folder))
        if above.kind == "folder" and above.writable:
            message = "not there yet: the first snapshot makes it"
            yield Finding(Area.STORE, Standing.GOOD, str(root), message)
        else:
            yield _unwritable(root, f"not there, and {folder} is a {above.words}")
    elif rights.kind != "folder":
        yield _unwritable(root, f"it is no folder, but a {rights.words}")
    else:
        yield from _folder(root, rights)
    yield from _room(Area.STORE, str(folder))


def _folder(root: Path, rights: Rights) -> Iterator[Finding]:
    if not rights.writable:
        yield _unwritable(root, rights.words)
    else:
        yield Finding(Area.STORE, Standing.GOOD, str(root), rights.words)
    if rights.mode & _OTHERS_WRITE:
        why = "others may write to it: a manifest could be another's"
        yield Finding(Area.STORE, Standing.NOTE, str(root), why, "store-open", f"chmod 0700 {root}")
    elif rights.mode & _OTHERS:
        why = "others may look into it; its files are for its owner alone"
        yield Finding(Area.STORE, Standing.NOTE, str(root), why, "store-open", f"chmod 0700 {root}")


def _unwritable(root: Path, message: str) -> Finding:
    remedy = "choose another folder with --store, or be its owner"
    return wrong(Area.STORE, Problem("store-unwritable", str(root), message, remedy))


def _room(area: Area, path: str) -> Iterator[Finding]:
    free = free_bytes(path)
    if free is not None and free < _LITTLE_BYTES:
        why = f"its file system has {free // 2**20} MiB left"
        remedy = "make room: `snapplan gc` lists what no snapshot needs"
        yield Finding(area, Standing.NOTE, path, why, "room-low", remedy)


def run_findings(store: Store, here: Iterable[Path]) -> Iterator[Finding]:
    """Runs that have not ended, and files of the store that cannot be read.

    Args:
        store: The store.
        here: The journals that are of the VM in question.
    """
    of_vm = set(here)
    try:
        pending, vms = pending_runs(store), store.vms()
        problems = [p for vm in vms for p in vm.manifests().problems]
        count = sum(len(vm.manifests().found) for vm in vms)
    except BadInput as error:
        yield from (wrong(Area.STORE, each) for each in error.problems)
        return
    known = f"{count} of {len(vms)} VMs"
    yield Finding(Area.STORE, Standing.GOOD, "snapshots recorded", known)
    yield from (wrong(Area.STORE, each, Standing.NOTE) for each in problems)
    for each in pending:
        yield _pending(each, Standing.WRONG if each.path in of_vm else Standing.NOTE)
    if not pending:
        yield Finding(Area.RUNS, Standing.GOOD, "unfinished runs", "none")


def _pending(pending: Pending, standing: Standing) -> Finding:
    if pending.journal is None or pending.replayed is None:
        problem = next(iter(pending.problems), Problem("journal-unusable"))
        message = f"its journal cannot be used: {problem.message}"
        return Finding(
            Area.RUNS, standing, str(pending.path), message, problem.code, problem.remedy
        )
    what = pending.replayed.run.what
    where = pending.address
    return Finding(
        Area.RUNS,
        standing,
        pending.journal.header.run,
        f"{what} at {where or 'an address that is not known'} has not ended",
        "recovery-pending",
        f"snapplan recover --vm {where}" if where else "snapplan recover",
    )


def image_findings(disks: Iterable[Disk]) -> Iterator[Finding]:
    """What we may do with the images of a VM of this machine, and beside them."""
    told: set[str] = set()
    for disk in disks:
        file = disk.filename
        if not file.startswith("/") or not rights_of(file).kind:
            continue
        rights, folder = rights_of(file), rights_of(str(Path(file).parent))
        if not (rights.readable and rights.writable):
            may = "read it only" if rights.readable else "not even read it"
            message = f"{rights.words}: we may {may}, so nothing is done with it without its VM"
            yield _note("image-no-access", disk.name, message)
        if folder.kind == "folder" and not folder.writable and folder.path not in told:
            message = f"{folder.words}: we may make no overlay, copy or memory file there"
            yield _note("image-no-access", folder.path, message)
        if folder.path not in told:
            yield from _room(Area.DISKS, folder.path)
        told.add(folder.path)


def frozen_findings(vm: VmStore, facts: Facts) -> Iterator[Finding]:
    """Disks whose guest writes to an image that one of the VM's snapshots needs as it was."""
    try:
        manifests = vm.manifests().found
    except BadInput:
        return  # `run_findings` says so
    seen = Seen(images_of_vm(facts, {}), {})
    told = set()
    for manifest in manifests:
        for part in manifest.parts:
            for problem in part.problems(manifest.tag, seen):
                if problem.code == "part-overwritten" and problem not in told:
                    told.add(problem)
                    yield wrong(Area.DISKS, problem)


def _note(code: str, subject: str, message: str) -> Finding:
    remedy = "run snapplan as the images' owner, or as root"
    return Finding(Area.DISKS, Standing.NOTE, subject, message, code, remedy)
