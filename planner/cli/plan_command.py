"""`snapplan plan`: compile a request into a proved plan, and explain it."""

from __future__ import annotations

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    read_file,
    vm_option,
    write_file,
)
from planner.compile.designs import AUTO, DESIGNS
from planner.compile.plan import compile_request
from planner.compile.plan_text import plan_to_plain, plan_to_text
from planner.errors import Problem, Refused
from planner.model.request_text import read_request
from planner.present.plan_view import plan_text
from planner.verbs.design_files import find_design

__all__ = ["check_design", "command", "design_option"]

design_option = click.option(
    "--design",
    default="auto",
    show_default=True,
    metavar="NAME",
    shell_complete=lambda _context, _parameter, start: [
        name for name in (AUTO, *(design.name for design in DESIGNS)) if name.startswith(start)
    ],
    help="monolithic, transactional, or auto: the first that can do the request.",
)


@click.command("plan")
@click.argument("request", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@facts_option
@design_option
@click.option("-o", "--output", metavar="PLAN", help="Write the plan file.")
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    request: str,
    vm: str | None,
    facts_file: str | None,
    design: str,
    output: str | None,
    as_json: bool,
) -> None:
    """Compile a request into a proved plan, and explain it.

    REQUEST is a YAML or JSON file, or - for stdin. Nothing in the VM is changed.
    """
    read = read_request(read_file(request), request)
    facts = gather_facts(vm, facts_file)
    check_design(design)
    plan = compile_request(read, facts, design)
    if output is not None and write_file(output, plan_to_text(plan)):
        return
    if as_json:
        print_json(plan_to_plain(plan))
    else:
        click.echo(plan_text(plan))


def check_design(name: str) -> None:
    """Make sure that plans can be made in a design.

    Raises:
        BadInput: There is no such design.
        Refused: It is described in a file only.
    """
    if name in (AUTO, *(known.name for known in DESIGNS)):
        return
    design = find_design(name)
    why = "it says what its instructions do, and not how QMP spells them"
    problem = Problem("design-cannot", design.name, why, "see what it promises: snapplan explore")
    message = f"design {design.name} is described in a file: it can be explored, not planned"
    raise Refused(message, problems=(problem,), code="design-cannot")
