"""The store: what snapplan remembers between its runs, as files in a folder.

    <root>/<vm key>/manifests/<tag>-<digest>.json    one finished snapshot each
    <root>/<vm key>/journals/<run>.journal           one unfinished run each
    <root>/<vm key>/lock                             held while a snapplan changes the VM
    <root>/<vm key>/vm.json                          which images and which process the VM is
    <root>/groups/<group>-<digest>.json              one group each (`planner.group.records`)

The shape for its users::

    store = Store(Path(root))
    vm = store.vm(VmIdentity.of(facts, address))     # a VmStore; nothing is made on the disk yet
    with vm.locked():                                # Refused (vm-locked) while another one holds it
        vm.write(manifest)                           # atomic; replaces the manifest of the same tag
        vm.manifest("before-upgrade")                # Manifest or None
        vm.manifests()                               # .found (by tag), .problems (damaged files)
        vm.delete("before-upgrade")                  # the record only, not the parts
    store.vms()                                      # every VmStore that the folder knows

A VM is known by its UUID, else its name, else the absolute path of its socket: `vm_key`; and by its
images and its process, so that another one of that UUID or name gets a folder of its own,
``<vm key>-<digest>`` (`planner.store.claims`).  One manifest for each tag: a tag names a snapshot of a
VM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import field, frozen
from filelock import FileLock, Timeout

from planner.errors import BadInput, Problem, Refused
from planner.host.files import make_folder, remove_file, write_whole
from planner.host.input import read_bytes
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.parts.recognizing import Moved, moved_names, plain_name, with_files
from planner.program.program import canonical_json
from planner.run.journal import read_journal
from planner.store.claims import Claim, Kinship, kinship, read_claim, write_claim
from planner.store.finding import is_here
from planner.store.identity import VmIdentity, absolute_address
from planner.store.store_files import file_name, read_stored, unreadable, unwritable

__all__ = [
    "GROUPS",
    "Manifests",
    "Store",
    "View",
    "VmIdentity",
    "VmStore",
    "absolute_address",
    "as_plain",
    "default_root",
]

GROUPS = "groups"
"""The folder that is no VM's: what groups of VMs are recorded in."""


@frozen
class Manifests:
    """The manifests of a VM.

    Attributes:
        found: In order of tag.
        problems: Files that are no manifest, one problem each.
    """

    found: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()

    def of(self, tag: str) -> Manifest | None:
        """The manifest of a tag."""
        return next((manifest for manifest in self.found if manifest.tag == tag), None)


View = Callable[[Manifest], Manifest]
"""How a manifest is read: with the names that its files and disks have now."""


def as_plain(manifest: Manifest) -> Manifest:
    """A manifest as it was recorded, but for options that QEMU showed in the place of a file."""
    return with_files(manifest, plain_name)


@frozen
class VmStore:
    """One VM's share of a store.

    Attributes:
        folder: Its folder; made when something is written.
        view: How its manifests are read.
    """

    folder: Path
    view: View = field(default=as_plain, eq=False, repr=False)

    @property
    def vm_key(self) -> str:
        """Which VM, as `VmIdentity.vm_key` says it."""
        return self.folder.name

    @property
    def journals(self) -> Path:
        """The folder of the journals; it may not be there."""
        return self.folder / "journals"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the VM's lock, so that no second snapplan of this store changes the VM meanwhile.

        The lock goes with the process, however that ends.

        Raises:
            Refused: Another snapplan holds it (``vm-locked``).
            BadInput: The store cannot be written (``store-unwritable``).
        """
        lock = FileLock(self.folder / "lock", mode=0o600)
        try:
            make_folder(self.folder)
            lock.acquire(timeout=0)
        except Timeout as error:
            problem = Problem(
                "vm-locked",
                str(self.folder / "lock"),
                "another snapplan is at work on this VM",
                "wait until it has ended",
            )
            raise Refused(problem.message, problems=(problem,), code=problem.code) from error
        except OSError as error:
            raise unwritable(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()

    def claim(self, identity: VmIdentity) -> None:
        """Say whose folder it is; the lock is held.

        Raises:
            BadInput: The store cannot be written (``store-unwritable``).
        """
        try:
            write_claim(self.folder, identity.claim)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def recorded_files(self) -> set[str]:
        """The image files that its records name, as far as they can be read."""
        held: set[str] = set()
        with suppress(BadInput):
            parts = [part for manifest in self.manifests().found for part in manifest.parts]
            held |= {file for part in parts if part.disk for file in part.files}
            for path in self.journal_files():
                with suppress(BadInput, OSError):
                    header = read_journal(read_bytes(path), str(path)).header
                    held |= set(header.baseline.filenames.values())
        return held - {""}

    def journal_files(self) -> tuple[Path, ...]:
        """Journals of runs that have not ended, in order of name.

        Raises:
            BadInput: The folder cannot be read (``store-unreadable``).
        """
        return tuple(_files(self.journals, ".journal"))

    def forget_journal(self, path: Path) -> None:
        """Remove a journal; what its run left stays as it is.

        Raises:
            BadInput: It cannot be removed (``store-unwritable``).
        """
        try:
            remove_file(path)
        except OSError as error:
            raise unwritable(path, error) from error

    def manifests(self) -> Manifests:
        """All manifests; a damaged file is a problem beside the others, and hides none of them.

        Raises:
            BadInput: The folder cannot be read (``store-unreadable``).
        """
        found: list[Manifest] = []
        problems: list[Problem] = []
        for path in _files(self.folder / "manifests", ".json"):
            try:
                found.append(self._read(path))
            except BadInput as error:
                problems.extend(error.problems)
        return Manifests(tuple(sorted(found, key=lambda each: each.tag)), tuple(problems))

    def manifest(self, tag: str) -> Manifest | None:
        """The manifest of a tag; None: there is none.

        Raises:
            BadInput: Its file is damaged or cannot be read.
        """
        path = self.manifest_path(tag)
        return self._read(path) if path.exists() else None

    def _read(self, path: Path) -> Manifest:
        return self.view(read_manifest(read_stored(path, "manifest-malformed"), str(path)))

    def manifest_path(self, tag: str) -> Path:
        """Where the manifest of a tag is kept."""
        return self.folder / "manifests" / file_name(tag)

    def write(self, manifest: Manifest) -> Path:
        """Write a manifest, whole or not at all, in place of one of the same tag.

        Raises:
            BadInput: It cannot be written (``store-unwritable``); what was there is still there.
        """
        path = self.manifest_path(manifest.tag)
        try:
            make_folder(path.parent)
            write_whole(path, canonical_json(manifest_to_plain(manifest)))
        except OSError as error:
            raise unwritable(path, error) from error
        return path

    def delete(self, tag: str) -> None:
        """Forget a snapshot: its record goes, its parts stay as they are.

        Raises:
            BadInput: The record cannot be removed (``store-unwritable``).
        """
        path = self.manifest_path(tag)
        if not path.parent.exists():
            return
        try:
            remove_file(path)
        except OSError as error:
            raise unwritable(path, error) from error


@frozen
class Store:
    """A store folder; it need not be there yet.

    Attributes:
        root: The folder.
        moved: What was moved since its manifests were written.
    """

    root: Path = field(converter=Path)
    moved: Moved = ()

    def view(self, manifest: Manifest) -> Manifest:
        """A manifest with its files where they are now, as far as that is told by what was moved."""
        return with_files(manifest, moved_names(self.moved))

    def _vm(self, folder: Path) -> VmStore:
        return VmStore(folder, self.view)

    def vm(self, identity: VmIdentity) -> VmStore:
        """A VM's share: the folder of its key, unless that is another VM's.

        In a store that cannot be read it is that folder: who works in it is told why that fails.
        """
        own = self._vm(self.root / identity.vm_key)
        here = identity.process is not None or is_here(identity.address)
        best, found = Kinship.STRANGER, own
        for each, claim in self._candidates(identity):
            kin = kinship(identity.claim, identity.below, claim, each.recorded_files, here=here)
            if each != own and kin is not Kinship.PROCESS and not identity.images:
                continue  # without images it is nobody's kin: its disks are a storage daemon's
            if kin > best and (kin > Kinship.UNUSED or each == own):
                best, found = kin, each
        if best is Kinship.STRANGER:
            names = "\0".join(image.path for image in identity.images)
            digest = hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            return self._vm(self.root / f"{identity.vm_key}-{digest}")
        return found

    def _candidates(self, identity: VmIdentity) -> Iterator[tuple[VmStore, Claim | None]]:
        """The folders that may be a VM's: those of its key, or of VMs that have no name either."""
        own = self.root / identity.vm_key
        yield self._vm(own), read_claim(own)
        folders: list[Path] = []
        with suppress(BadInput):
            folders = _entries(self.root)
        for folder in folders:
            if folder.name.startswith(f"{own.name}-"):
                yield self._vm(folder), read_claim(folder)
            elif folder != own and not (identity.uuid or identity.name):
                claim = read_claim(folder)
                if claim is not None and not (claim.uuid or claim.name):
                    yield self._vm(folder), claim

    def inherited(self, identity: VmIdentity, own: VmStore) -> tuple[tuple[Path, Manifest], ...]:
        """Manifests of other VMs of its name whose every image is one of this VM: it was made of them.

        To be read only: the other VM needs them as they are.
        """
        others = [each for each, _ in self._candidates(identity) if each != own]
        return tuple(
            (each.manifest_path(manifest.tag), manifest)
            for each in others
            for manifest in map(own.view, each.manifests().found)
            if _is_made_of(identity, manifest)
        )

    def vms(self) -> tuple[VmStore, ...]:
        """The share of every VM that the store knows, in order of key.

        Raises:
            BadInput: The folder cannot be read (``store-unreadable``).
        """
        return tuple(
            self._vm(each) for each in _entries(self.root) if each.name != GROUPS and each.is_dir()
        )


def default_root() -> Path:
    """Where a store is that nobody has named: in the user's state folder."""
    from platformdirs import user_state_dir  # noqa: PLC0415 - who names a store needs none of it

    return Path(user_state_dir("snapplan", appauthor=False))


def _is_made_of(identity: VmIdentity, manifest: Manifest) -> bool:
    files = {part.file for part in manifest.parts if part.disk}
    return bool(files) and files <= identity.files


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def _files(folder: Path, suffix: str) -> list[Path]:
    # A name that begins with a dot is a file that was still being written when somebody died.
    return [
        each
        for each in _entries(folder)
        if each.suffix == suffix and each.name[:1] not in (".", "")
    ]
