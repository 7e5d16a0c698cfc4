"""`snapplan show`: a plan as text, JSON, QMP, a script, Mermaid, DOT or a picture."""

from __future__ import annotations

from collections.abc import Callable

import click

from backends import transcript
from planner.cli.common import json_option, read_file
from planner.compile.plan import Plan
from planner.compile.plan_text import plan_to_text, read_plan
from planner.errors import Problem, Refused
from planner.present.graph_svg import plan_svg
from planner.present.graph_view import dot, mermaid
from planner.present.plan_view import plan_text, qmp_lines
from planner.program.program import Target

__all__ = ["command"]

_FOR_QMP = ("session", "script")

_FORMATS: dict[str, Callable[[Plan], str]] = {
    "text": lambda plan: plan_text(plan) + "\n",
    "json": plan_to_text,
    "qmp": qmp_lines,
    "session": lambda plan: transcript.session(plan.program),
    "script": lambda plan: transcript.script(plan.program),
    "mermaid": mermaid,
    "dot": dot,
    "svg": plan_svg,
}


@click.command("show")
@click.argument("plan", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    default="text",
    show_default=True,
    help="qmp: the steps, one command a line, where @DISK stands for a node that QEMU named itself; "
    "session: with the negotiation and the looks between; script: Python that runs them; svg: a "
    "picture of the steps, their operations and the rules between.",
)
@json_option
def command(*, plan: str, form: str, as_json: bool) -> None:
    """Show a plan, proved anew."""
    found = read_plan(read_file(plan), plan)
    if form in _FOR_QMP and not as_json:
        _check_qmp_alone(found, form)
    shown = _FORMATS["json" if as_json else form](found)
    click.echo(shown, nl=False)


def _check_qmp_alone(plan: Plan, form: str) -> None:
    """A step that QEMU does not do would be lost, or sent to where it does not belong."""
    problems = tuple(
        Problem("export-cannot", step.execute, "it is done by the guest agent, on its own socket")
        for step in plan.program.steps
        if step.target is Target.AGENT
    )
    if problems:
        raise Refused(
            f"the plan is more than QMP, and cannot be shown as {form}",
            problems=problems,
            code="export-cannot",
        )
