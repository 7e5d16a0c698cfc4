"""`snapplan list`: a VM's snapshots, as the store records them and its disks hold them."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    store_option,
    vm_option,
)
from planner.compile.holdings import holdings
from planner.execute.store import Manifests, Store, VmIdentity
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

    complete: every recorded part is there; incomplete: one is missing; foreign: not recorded.
    """
    facts = gather_facts(vm, facts_file)
    identity = VmIdentity.of(facts, vm or "")
    known = bool(vm or identity.uuid or identity.name)
    recorded = store.vm(identity).manifests() if known else Manifests()
    local = vm is not None and identity.address.startswith("/")
    found = holdings(recorded.found, facts, _lost_files(recorded.found) if local else ())
    if as_json:
        print_json(holdings_to_plain(found, recorded.problems))
    else:
        click.echo(holdings_text(found, recorded.problems))


def _lost_files(manifests: tuple[Manifest, ...]) -> set[str]:
    return {
        part.file
        for manifest in manifests
        for part in manifest.parts
        if part.kind is not PartKind.INTERNAL and not Path(part.file).exists()
    }
