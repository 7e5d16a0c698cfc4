"""List: a VM's snapshots, as the store records them and its disks hold them.  Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, frozen

from planner.errors import Problem
from planner.host.evidence import look_at_files, stream_sizes
from planner.inspect.verifying import (
    ask_images,
    verify_by_facts,
    verify_images,
    with_images_beside,
)
from planner.model.ancestor import Ancestor
from planner.model.facts import Facts
from planner.model.image import Image
from planner.parts.holdings import Holding, holdings, placed
from planner.parts.manifest import Manifest
from planner.parts.part_image import ImagesByDisk, images_of_vm
from planner.store.current import current_of
from planner.store.finding import is_here
from planner.store.meeting import Met, meet, vm_seen
from planner.store.naming import StoredSnapshots, stored_snapshots
from planner.store.restores import KnownRestore, restores_on
from planner.store.store import Manifests, Store, VmIdentity, VmStore
from planner.verbs.context import Context

__all__ = ["Listed", "StoredSnapshots", "list_by_facts", "list_snapshots", "list_store"]


@frozen
class Listed:
    """What a VM has.

    Attributes:
        holdings: Each tag, in order, with how it stands.
        problems: Files of the store that are no manifests.
        unchecked: What could not be looked at, in clauses.
        restores: The restores of its snapshots, and the one that it is itself.
    """

    holdings: tuple[Holding, ...]
    problems: tuple[Problem, ...] = ()
    unchecked: tuple[str, ...] = ()
    restores: tuple[KnownRestore, ...] = ()


def list_store(store: Store, vm_name: str = "") -> tuple[StoredSnapshots, ...]:
    """List what the store records of its VMs, by their names; no VM and no image is looked at.

    Args:
        store: The store.
        vm_name: The name or UUID of the VM; empty: all that the store knows something of.

    Raises:
        BadInput: No VM is called so (``vm-unknown``), or the store cannot be read.
    """
    return stored_snapshots(store, vm_name)


async def list_snapshots(context: Context, only: str = "") -> Listed:
    """List a running VM's snapshots; each stands as `verify` would say.

    Args:
        context: The VM, connected.
        only: The tag to look at; empty: all.

    Raises:
        CannotConnect: The VM does not answer.
    """
    met = await meet(context.backend, context.store, context.address)
    below = await ask_images(context.backend)
    vm = met.vm
    recorded = _recorded(context.store, met.identity, vm, only)
    images = await _images_of_each(recorded.manifests, met, below)
    listed = _listed(recorded, met.facts, met.identity, below, images)
    restores = restores_on(context.store, vm, met.identity.files)
    listed = evolve(listed, restores=restores)
    if not only:
        return listed
    return evolve(
        listed,
        holdings=tuple(each for each in listed.holdings if each.tag == only),
        restores=tuple(each for each in restores if each.restore.tag == only),
    )


async def _images_of_each(
    recorded: Manifests, met: Met, below: dict[str, Image]
) -> dict[str, ImagesByDisk]:
    """By tag, the images that a snapshot is looked for in."""
    opened = images_of_vm(met.facts, below)
    files = met.backend.images
    if files is None:
        return {manifest.tag: opened for manifest in recorded.found}
    return {
        manifest.tag: await with_images_beside(manifest, opened, files)
        for manifest in recorded.found
    }


def list_by_facts(store: Store, facts: Facts, address: str = "") -> Listed:
    """The same by facts alone, without the VM.

    Args:
        store: Where its manifests are.
        facts: The VM, as it was.
        address: Where it was; empty: not known.
    """
    identity = VmIdentity.of(facts, address)
    vm = vm_seen(store, identity, facts, here=is_here(identity.address))
    return _listed(_recorded(store, identity, vm), facts, identity, None)


@frozen
class _Recorded:
    """What the store says of a VM.

    Attributes:
        manifests: Those to be looked at.
        known: Every snapshot that is recorded.
        current: What the VM stands on.
    """

    manifests: Manifests
    known: frozenset[Ancestor] = frozenset()
    current: tuple[Ancestor, ...] = ()


def _listed(
    recorded: _Recorded,
    facts: Facts,
    identity: VmIdentity,
    below: dict[str, Image] | None,
    images: Mapping[str, ImagesByDisk] | None = None,
) -> Listed:
    local = is_here(identity.address)
    manifests = recorded.manifests.found
    findings = {
        manifest.tag: _findings(manifest, facts, (images or {}).get(manifest.tag), local=local)
        for manifest in manifests
    }
    lost = _lost_files(manifests) if local else ()
    looked = None if below is None else {**_beside(images or {}), **below}
    found = holdings(manifests, facts, lost, below=looked, findings=findings)
    return Listed(
        tuple(placed(each, recorded.known, recorded.current) for each in found),
        recorded.manifests.problems,
        () if local else _not_seen(manifests),
    )


def _beside(images: Mapping[str, ImagesByDisk]) -> dict[str, Image]:
    """Every image that was looked at and is no active layer, by file."""
    looked = (
        image
        for of_tag in images.values()
        for of_disk in of_tag.values()
        for image in of_disk.values()
    )
    return {image.file: image for image in looked if not image.active}


def _findings(
    manifest: Manifest, facts: Facts, images: ImagesByDisk | None, *, local: bool
) -> tuple[Problem, ...]:
    if images is None:
        return verify_by_facts(manifest, facts)
    if not local:
        return verify_images(manifest, facts, images, None)
    files = look_at_files(manifest, template=True)
    return verify_images(manifest, facts, images, stream_sizes(manifest), files)


def _not_seen(manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    external = any(part.external for each in manifests for part in each.parts)
    return ("files of external parts: they are not to be seen from here",) if external else ()


def _recorded(store: Store, identity: VmIdentity, vm: VmStore, only: str = "") -> _Recorded:
    """A VM's manifests, and those of the VM whose images it lies on, unless it has one of that tag."""
    if not (identity.address or identity.uuid or identity.name):
        return _Recorded(Manifests())
    own = vm.manifests()
    tags = {manifest.tag for manifest in own.found}
    others = [each for _, each in store.inherited(identity, vm) if each.tag not in tags]
    every = sorted((*own.found, *others), key=lambda each: each.tag)
    wanted = evolve(own, found=tuple(each for each in every if only in ("", each.tag)))
    return _Recorded(wanted, frozenset(each.ancestor for each in every), current_of(vm))


def _lost_files(manifests: tuple[Manifest, ...]) -> set[str]:
    return {
        part.file
        for manifest in manifests
        for part in manifest.parts
        if part.external and part.file.startswith("/") and not Path(part.file).exists()
    }
