"""`snapplan apply`: run a request or a plan on a VM, with its journal before and its manifest after."""

from __future__ import annotations

import os
import sys

import click

from planner.cli.asking import context_of
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    read_file,
    run,
    store_option,
    vm_option,
)
from planner.cli.plan_command import check_design, design_option
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.cli.run_options import deadline_option
from planner.compile.plan import Plan
from planner.compile.plan_text import is_plan, read_plan
from planner.model.request_text import ReadRequest, read_request
from planner.present.outcome_view import (
    joined_text,
    joined_to_plain,
    next_text,
    outcome_text,
    outcome_to_plain,
    start_text,
)
from planner.run.ports import Backend
from planner.store.store import Store, default_root
from planner.verbs.huge_pages import Joined, join_memory
from planner.verbs.save import Limits, Saved, save

__all__ = ["command"]


@click.command("apply")
@click.argument("source", metavar="REQUEST|PLAN", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@design_option
@deadline_option("How long any step may take, in place of each step's own deadline.")
@click.option(
    "--pause-budget",
    "pause_budget_ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="How long the guest may stand still: a plan that is predicted to take longer is refused, a "
    "run that does is given up and undone.",
)
@click.option(
    "--digest",
    is_flag=True,
    help="Read the frozen images in the end, and those under a part, and record their SHA-256 digests: "
    "a copy is known by it for what it is. The machine state's file always has one.",
)
@click.option(
    "--huge-pages",
    is_flag=True,
    help="Once the guest runs again, have Linux join QEMU's memory into huge pages (about 0.3 s a GiB, "
    "as root): the next background capture then pauses it as briefly as the first.",
)
@click.option("--yes", is_flag=True, help="Do not ask before existing snapshots are replaced.")
@store_option
@progress_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    design: str,
    deadline_s: float | None,
    pause_budget_ms: float | None,
    digest: bool,
    huge_pages: bool,
    yes: bool,
    store: Store,
    progress: str,
    as_json: bool,
) -> None:
    """Run a request or a plan on a VM.

    On a failure everything is undone and the guest runs as before; Ctrl-C, a closed terminal and every
    other way to stop do the same.  What a killed run leaves, `snapplan recover` goes on with.
    """
    if not vm:
        raise click.UsageError("give --vm ADDR")
    text = read_file(source)
    check_design(design)
    read, limits = _read(text, source), Limits(deadline_s, pause_budget_ms)
    with TerminalReporter(progress, then=Then.UNDONE) as reporter:

        async def work(backend: Backend) -> tuple[Saved, Joined | None]:
            context = context_of(backend, store, vm, reporter, yes=yes)
            saved = await save(context, read, design, limits, digest=digest)
            wanted = huge_pages and saved.manifest is not None
            return saved, await join_memory(backend) if wanted else None

        saved, joined = run(connected(vm, work))
    saved.outcome.raise_failure()
    program, outcome = saved.plan.program, saved.outcome
    if as_json:
        plain = {**outcome_to_plain(program, outcome), "manifest": str(saved.manifest)}
        print_json(plain if joined is None else {**plain, "huge-pages": joined_to_plain(joined)})
    else:
        daemon = saved.plan.is_daemon
        said = [outcome_text(program, outcome, daemon=daemon), f"Manifest: {saved.manifest}"]
        said.append(start_text(outcome, daemon=daemon))
        said += [] if joined is None else [joined_text(joined)]
        said += [next_text(program, _at(vm, store))] if sys.stdout.isatty() else []
        click.echo("\n".join(filter(None, said)))


def _at(vm: str, store: Store) -> tuple[str, ...]:
    """The options that name this VM and this store again."""
    named = str(store.root) in (str(default_root()), os.environ.get("SNAPPLAN_STORE"))
    return ("--vm", vm, *(() if named else ("--store", str(store.root))))


def _read(text: str, source: str) -> Plan | ReadRequest:
    """A plan says that it is one; everything else is taken for a request."""
    if is_plan(text):
        return read_plan(text, source)
    return read_request(text, source)
