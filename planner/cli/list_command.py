"""`snapplan list`: a VM's snapshots, as the store records them and its disks hold them."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import evolve

from planner.cli.common import (
    connected,
    facts_option,
    gather_facts,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.compile.holdings import holdings
from planner.compile.part_image import ImagesByDisk, images_of_vm
from planner.errors import Problem
from planner.execute.evidence import look_at_files, stream_sizes
from planner.execute.meeting import meet
from planner.execute.ports import Backend
from planner.execute.store import Manifests, Store, VmIdentity
from planner.execute.verifying import ask_images, verify_by_facts, verify_images
from planner.model.facts import Facts
from planner.model.image import Image
from planner.model.manifest import Manifest, PartKind
from planner.present.holdings_view import holdings_text, holdings_to_plain

__all__ = ["command"]


@click.command("list")
@vm_option
@facts_option
@store_option
@json_option
def command(*, vm: str | None, facts_file: str | None, store: Store, as_json: bool) -> None:
    """List a VM's snapshots by tag: what the store records, and what the disks hold.

    complete: every recorded part is there, and `verify` finds nothing; differs: something is not as it
    was saved; incomplete: a part is missing; foreign: not recorded.
    """
    if vm and facts_file is None:
        facts, identity, below = run(connected(vm, lambda link: _ask(link, vm, store)))
    else:
        facts, below = gather_facts(vm, facts_file), None
        identity = VmIdentity.of(facts, vm or "")
    known = bool(vm or identity.uuid or identity.name)
    recorded = _recorded(store, identity) if known else Manifests()
    local = vm is not None and identity.address.startswith("/")
    images = None if below is None else images_of_vm(facts, below)
    findings = {
        manifest.tag: _findings(manifest, facts, images, local=local) for manifest in recorded.found
    }
    lost = _lost_files(recorded.found) if local else ()
    found = holdings(recorded.found, facts, lost, below=below, findings=findings)
    unchecked = () if local else _not_seen(recorded.found)
    if as_json:
        print_json(holdings_to_plain(found, recorded.problems, unchecked))
    else:
        click.echo(holdings_text(found, recorded.problems, unchecked))


async def _ask(
    backend: Backend, address: str, store: Store
) -> tuple[Facts, VmIdentity, dict[str, Image]]:
    met = await meet(backend, store, address)
    return met.facts, met.identity, await ask_images(backend)


def _findings(
    manifest: Manifest, facts: Facts, images: ImagesByDisk | None, *, local: bool
) -> tuple[Problem, ...]:
    if images is None:
        return verify_by_facts(manifest, facts)
    if not local:
        return verify_images(manifest, facts, images, None)
    return verify_images(manifest, facts, images, stream_sizes(manifest), look_at_files(manifest))


def _not_seen(manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    external = any(p.kind is not PartKind.INTERNAL for each in manifests for p in each.parts)
    return ("files of external parts: they are not to be seen from here",) if external else ()


def _recorded(store: Store, identity: VmIdentity) -> Manifests:
    """A VM's manifests, and those of the VM whose images it lies on, unless it has one of that tag."""
    vm = store.vm(identity)
    own = vm.manifests()
    tags = {manifest.tag for manifest in own.found}
    others = [each for _, each in store.inherited(identity, vm) if each.tag not in tags]
    return evolve(own, found=tuple(sorted((*own.found, *others), key=lambda each: each.tag)))


def _lost_files(manifests: tuple[Manifest, ...]) -> set[str]:
    return {
        part.file
        for manifest in manifests
        for part in manifest.parts
        if part.kind is not PartKind.INTERNAL and not Path(part.file).exists()
    }
