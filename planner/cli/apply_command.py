"""`snapplan apply`: run a request or a plan on a VM, with its journal before and its manifest after."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from attrs import field, frozen

from backends.guest_agent import GuestAgent
from planner.cli.common import (
    ConnectedBackend,
    connected,
    json_option,
    print_json,
    read_file,
    run,
    store_option,
    vm_option,
)
from planner.cli.plan_command import check_design, design_option
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import stopped_by_signals
from planner.compile.plan import Plan, check_unchanged, compile_request
from planner.compile.plan_text import FORMAT, read_plan
from planner.compile.program import Target
from planner.errors import BadInput, Problem, Refused
from planner.execute.applying import (
    JournaledRun,
    begin_run,
    check_nothing_pending,
    check_tag_free,
    settle,
)
from planner.execute.consent import decide_and_ask
from planner.execute.measuring import ask_memory
from planner.execute.meeting import meet
from planner.execute.outcome import Outcome
from planner.execute.predicting import predict
from planner.execute.pump import HostClock, Pump, ask_facts
from planner.execute.store import Store
from planner.model.facts import Facts, Snapshot
from planner.model.request_text import ReadRequest, read_request
from planner.present.outcome_view import outcome_text, outcome_to_plain

__all__ = ["command"]


@frozen
class _Wish:
    """What the command line asks for."""

    address: str
    store: Store
    source: Plan | ReadRequest
    design: str
    deadline_s: float | None
    pause_budget_ms: float | None
    yes: bool


@click.command("apply")
@click.argument("source", metavar="REQUEST|PLAN", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@design_option
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long any step may take, in place of each step's own deadline.",
)
@click.option(
    "--pause-budget",
    "pause_budget_ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="How long the guest may stand still: a plan that is predicted to take longer is refused, a "
    "run that does is given up and undone.",
)
@click.option("--yes", is_flag=True, help="Do not ask before existing snapshots are replaced.")
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    design: str,
    deadline_s: float | None,
    pause_budget_ms: float | None,
    yes: bool,
    store: Store,
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
    wish = _Wish(vm, store, _read(text, source), design, deadline_s, pause_budget_ms, yes)
    with TerminalReporter() as reporter:
        plan, outcome, manifest = run(
            connected(vm, lambda backend: _apply(backend, wish, reporter))
        )
    outcome.raise_failure()
    if as_json:
        print_json({**outcome_to_plain(plan.program, outcome), "manifest": str(manifest)})
    else:
        click.echo(f"{outcome_text(plan.program, outcome)}\nManifest: {manifest}")


def _read(text: str, source: str) -> Plan | ReadRequest:
    """A plan says that it is one; everything else is taken for a request."""
    if text.lstrip().startswith("{"):
        try:
            top = json.loads(text)
        except (ValueError, RecursionError):
            top = None
        if isinstance(top, dict) and top.get("format") == FORMAT:
            return read_plan(text, source)
    return read_request(text, source)


async def _apply(
    backend: ConnectedBackend, wish: _Wish, reporter: TerminalReporter
) -> tuple[Plan, Outcome, Path | None]:
    # Whose lock it is, only the VM can say; what is planned for is asked when it is held.
    met = await meet(backend, wish.store, wish.address)
    with met.locked() as vm:
        check_nothing_pending(vm)

        async def decide() -> _Decided:
            facts = await ask_facts(backend)
            plan = _fitting_plan(wish, facts)
            check_tag_free(vm, plan, facts)
            _check_host(plan, backend)
            await _check_pause(plan, wish, backend)
            return _Decided(plan, _given_up(plan, facts), facts)

        def ask(decided: _Decided) -> bool:
            with reporter.quiet():
                return _confirm_replacing(decided.plan, wish)

        decided = await decide_and_ask(decide, ask, "existing-tag")
        plan, facts = decided.plan, decided.facts
        run_ = begin_run(
            *(vm, met.identity, plan, facts),
            instance=met.instance,
            deadline_s=wish.deadline_s,
        )
        outcome, manifest = await _pump(backend, run_, wish, reporter)
        return plan, outcome, manifest


@frozen
class _Decided:
    """A run, before somebody agrees to what it replaces.

    Attributes:
        plan: What is to be run.
        given_up: The snapshots that it replaces, as they are: an id and a tag may be given again.
        facts: The VM as it was decided on; what changes neither of them may change.
    """

    plan: Plan
    given_up: tuple[tuple[str, Snapshot], ...]
    facts: Facts = field(eq=False)


def _given_up(plan: Plan, facts: Facts) -> tuple[tuple[str, Snapshot], ...]:
    ids = {(old.disk, old.id) for old in plan.program.resolution.replaced}
    return tuple(
        (disk.name, snapshot)
        for disk in facts.disks
        for snapshot in disk.snapshots
        if (disk.name, snapshot.id) in ids
    )


async def _pump(
    backend: ConnectedBackend, run_: JournaledRun, wish: _Wish, reporter: TerminalReporter
) -> tuple[Outcome, Path | None]:
    freeze = run_.plan.program.resolution.freeze
    agent = None if freeze is None else GuestAgent(freeze.agent)
    pump = Pump(
        run_.plan.program,
        run_.facts,
        backend,
        images=backend.images,
        host=backend.host,
        agent=agent,
        clock=None if backend.images is None else HostClock(),
        reporter=reporter,
        deadline_s=wish.deadline_s,
        pause_budget_ms=wish.pause_budget_ms,
        recorder=run_.recorder(),
    )

    async def work() -> tuple[Outcome, Path | None]:
        try:
            outcome = await pump.run()
            return outcome, settle(run_, outcome)
        finally:
            if agent is not None:
                await agent.close()

    return await stopped_by_signals(work(), pump.interrupt)


def _fitting_plan(wish: _Wish, facts: Facts) -> Plan:
    if isinstance(wish.source, Plan):
        check_unchanged(wish.source, facts)
        return wish.source
    return compile_request(wish.source, facts, wish.design)


def _check_host(plan: Plan, backend: ConnectedBackend) -> None:
    """External parts are files beside the VM's images; refuse where these are another machine's."""
    if backend.host is None and any(s.target is Target.HOST for s in plan.program.steps):
        problem = Problem(
            "host-not-here",
            "vm",
            "external parts are files on QEMU's host, and over TCP that may be another machine",
            "run snapplan there, and give --vm the path of a unix socket",
        )
        raise Refused(str(problem), problems=(problem,), code=problem.code)


async def _check_pause(plan: Plan, wish: _Wish, backend: ConnectedBackend) -> None:
    """Refuse a plan whose pause is predicted to be longer than the user allows."""
    if wish.pause_budget_ms is None:
        return
    memory = await ask_memory(backend)
    predicted = predict(plan.program, len(plan.program.steps), memory)
    if predicted is None:
        return
    whole_ms = predicted.besides_ms + (predicted.machine_state_ms or 0.0)
    if whole_ms > wish.pause_budget_ms:
        problem = Problem(
            "pause-budget-exceeded",
            plan.program.design,
            f"the guest would stand still for about {whole_ms:.0f} ms (a prediction, see `compare`), "
            f"and {wish.pause_budget_ms:g} ms are allowed",
            "use `capture: background` or `live`, or allow more",
        )
        raise Refused(str(problem), problems=(problem,), code=problem.code)


def _confirm_replacing(plan: Plan, wish: _Wish) -> bool:
    """Existing snapshots go only with somebody's word for it; whether that was asked for."""
    replaced = plan.program.resolution.replaced
    if not replaced or wish.yes:
        return False
    names = ", ".join(f"{old.disk} (id {old.id})" for old in replaced)
    tag = plan.program.resolution.tag
    if not sys.stdin.isatty():
        problem = Problem(
            "confirmation-missing",
            tag,
            f"this would delete the existing snapshot of {names}",
            "add --yes",
        )
        raise BadInput(problem.words, problems=(problem,), code=problem.code)
    click.confirm(f"Delete the existing snapshot {tag!r} of {names}?", abort=True, err=True)
    return True
