"""What a person calls a VM of the store: its name or its UUID, as `vm.json` or its manifests have them.

A VM that has neither is called by the name of its folder.  Names need not be unique: two VMs of one name
have a folder each, and are told apart by UUID or folder.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from planner.errors import BadInput, Problem
from planner.model.ancestor import Ancestor, nearest
from planner.parts.manifest import Manifest
from planner.store.claims import Claim, read_claim
from planner.store.current import current_of
from planner.store.store import Store, VmStore

__all__ = ["StoredSnapshots", "StoredVm", "stored_snapshots", "stored_vm", "vms_called"]


@frozen
class StoredVm:
    """A VM that the store knows.

    Attributes:
        vm: Its share of the store.
        name: `query-name`'s answer when it was last met, or empty.
        uuid: Its UUID, or empty.
        address: Where it was last met; empty: nobody wrote it down.
    """

    vm: VmStore
    name: str = ""
    uuid: str = ""
    address: str = ""

    @property
    def called(self) -> str:
        """What it is called, as `--name` takes it."""
        return self.name or self.uuid or self.vm.vm_key

    def answers_to(self, which: str) -> bool:
        """Whether this is a name of it."""
        return which in {self.name, self.uuid, self.vm.vm_key} - {""}


@frozen
class StoredSnapshots:
    """What the store alone says of a VM.

    Attributes:
        vm: Which.
        manifests: Its snapshots, in order of tag.
        problems: Files of the store that are no manifests.
        unfinished: How many runs on it have not ended.
        current: What it stands on: a snapshot, then its ancestors.
    """

    vm: StoredVm
    manifests: tuple[Manifest, ...]
    problems: tuple[Problem, ...] = ()
    unfinished: int = 0
    current: tuple[Ancestor, ...] = ()

    @property
    def current_tag(self) -> str:
        """The snapshot that it was last loaded from, or saved as; empty: none, or nobody knows."""
        return nearest(self.current, self._known)

    def parent_of(self, manifest: Manifest) -> str:
        """The tag of the snapshot that one was taken after, the nearest that is there; or empty."""
        return nearest(manifest.ancestors, self._known)

    @property
    def _known(self) -> frozenset[Ancestor]:
        return frozenset(each.ancestor for each in self.manifests)


def stored_vm(vm: VmStore) -> StoredVm:
    """What a VM of the store is called; nothing but files of the store is looked at.

    Raises:
        BadInput: The store cannot be read (``store-unreadable``).
    """
    claim = read_claim(vm.folder)
    if claim is None:  # a folder of before; its manifests have the UUID, or else the name
        found = vm.manifests().found
        label = next((each.vm for each in found if each.vm), "")
        address = next((each.address for each in found if each.address), "")
        claim = Claim("", label, address)
    return StoredVm(vm, claim.name, claim.uuid, claim.address)


def vms_called(store: Store, which: str = "") -> tuple[VmStore, ...]:
    """The VMs of a store that answer to a name; all where it is empty.

    Raises:
        BadInput: None does (``vm-unknown``).
    """
    if not which:
        return store.vms()
    known = [stored_vm(vm) for vm in store.vms()]
    found = tuple(each.vm for each in known if each.answers_to(which))
    if not found:
        names = _names(known)
        remedy = f"choose one of: {names}" if names else "the store knows none"
        problem = Problem("vm-unknown", which, "no VM of the store has this name or UUID", remedy)
        raise BadInput.of(problem)
    return found


def stored_snapshots(store: Store, which: str = "") -> tuple[StoredSnapshots, ...]:
    """What the store records of the VMs that answer to a name, in order of what they are called.

    Raises:
        BadInput: None does (``vm-unknown``), or the store cannot be read (``store-unreadable``).
    """
    found = []
    for vm in vms_called(store, which):
        recorded, unfinished = vm.manifests(), len(vm.journal_files())
        if which or recorded.found or recorded.problems or unfinished:
            what = (recorded.found, recorded.problems, unfinished, current_of(vm))
            each = StoredSnapshots(stored_vm(vm), *what)
            found.append(each)
    return tuple(sorted(found, key=lambda each: (each.vm.called, each.vm.vm.vm_key)))


def _names(known: Iterable[StoredVm]) -> str:
    return ", ".join(sorted({each.called for each in known}))
