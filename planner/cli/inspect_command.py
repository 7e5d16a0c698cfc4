"""`snapplan inspect`: a VM's disks, what each can do, and why."""

from __future__ import annotations

import os
from pathlib import Path

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    store_option,
    vm_option,
    write_file,
)
from planner.errors import BadInput
from planner.host.listening import listener_at
from planner.inspect.draft import draft_of, free_tag
from planner.model.facts import Facts
from planner.model.facts_text import facts_to_plain
from planner.model.peripherals import UNIX
from planner.model.served import served_disks
from planner.model.tag import tag_problems
from planner.model.text import read_text
from planner.present.outside_view import served_lines
from planner.present.visible import as_lines
from planner.present.vm_view import draft_request, inspect_text, inspection_to_plain
from planner.program.program import canonical_json
from planner.store.finding import is_here
from planner.store.store import Store, VmIdentity

__all__ = ["command"]


@click.command("inspect")
@vm_option
@facts_option
@click.option(
    "--request",
    "as_request",
    is_flag=True,
    help="Draft a request for this VM (YAML; JSON with --json).",
)
@click.option("--tag", default="my-snapshot", show_default=True, help="The drafted request's tag.")
@click.option(
    "--facts-out", metavar="FILE", type=click.Path(dir_okay=False), help="Keep the facts (JSON)."
)
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    vm: str | None,
    facts_file: str | None,
    as_request: bool,
    tag: str,
    facts_out: str | None,
    store: Store,
    as_json: bool,
) -> None:
    """Show a VM's disks, what each can do, and why.

    The VM is asked questions only.
    """
    problems = tag_problems(tag) if as_request else ()
    if problems:
        raise BadInput("no request is drafted with this tag", problems=problems, code="usage")
    facts = gather_facts(vm, facts_file)
    if facts_out is not None and write_file(facts_out, canonical_json(facts_to_plain(facts))):
        return
    if as_request:
        draft = _draft(facts, tag, vm or "", store)
        if as_json:
            print_json(read_text(draft, "draft").value)
        else:
            click.echo(draft, nl=False)
    elif as_json:
        print_json(inspection_to_plain(facts))
    else:
        listeners = _listeners(facts) if vm and is_here(vm) else {}
        click.echo(as_lines([inspect_text(facts), *served_lines(listeners)]))


def _listeners(facts: Facts) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By disk, the process of this machine that listens where QEMU is connected, and its sockets."""
    at = {
        name: address.removeprefix(UNIX)
        for name, address in served_disks(facts).items()
        if address.startswith(UNIX) and not name.startswith("/")
    }
    listeners = {path: listener_at(path) for path in set(at.values())}
    return {
        name: (f"{listener.name} {listener.pid}", listener.sockets)
        for name, path in at.items()
        if (listener := listeners[path]) is not None
    }


def _draft(facts: Facts, tag: str, address: str, store: Store) -> str:
    """A draft that is taken as it stands: by a tag and with paths that are free."""
    if not address:
        free = free_tag(facts, tag)
        return draft_request(facts, free)
    identity = VmIdentity.of(facts, address)
    recorded = {manifest.tag for manifest in store.vm(identity).manifests().found}
    free = free_tag(facts, tag, recorded)
    here = is_here(identity.address)
    there = os.path.lexists if here else (lambda _path: False)
    folder = str(Path.cwd()) if here else ""
    return draft_request(facts, free, draft_of(facts, free, there, folder))
