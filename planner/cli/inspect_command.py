"""`snapplan inspect`: a VM's disks, what each can do, and why."""

from __future__ import annotations

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    vm_option,
    write_file,
)
from planner.errors import BadInput
from planner.model.facts_text import facts_to_plain
from planner.model.tag import tag_problems
from planner.model.text import read_text
from planner.present.vm_view import draft_request, inspect_text, inspection_to_plain
from planner.program.program import canonical_json

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
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    vm: str | None,
    facts_file: str | None,
    as_request: bool,
    tag: str,
    facts_out: str | None,
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
        draft = draft_request(facts, tag)
        if as_json:
            print_json(read_text(draft, "draft").value)
        else:
            click.echo(draft, nl=False)
    elif as_json:
        print_json(inspection_to_plain(facts))
    else:
        click.echo(inspect_text(facts))
