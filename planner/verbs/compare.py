"""Compare: designs side by side for a request, predicted, explored, and measured where that is wanted.

Measuring makes a snapshot in each design and takes it away again: under the VM's locks, and not while an
earlier run is unfinished, as whatever changes a VM.
"""

from __future__ import annotations

from attrs import evolve, frozen

from planner.compare.comparison import DesignReport, Measurement
from planner.compare.measuring import Measuring
from planner.compare.repeated import typical
from planner.model.facts import Facts
from planner.model.request_text import ReadRequest
from planner.program.program import Program, Target
from planner.run.ports import Host, Images
from planner.run.pump import ask_facts
from planner.run.reporting import telling
from planner.store.held import met_and_locked
from planner.store.journaled import check_nothing_pending
from planner.verbs.context import Context
from planner.verbs.verdicts import compare_and_explore

__all__ = ["CompareWish", "compare", "compare_by_facts", "measure_simulated"]


@frozen
class CompareWish:
    """What is to be compared.

    Attributes:
        read: The request.
        designs: Names of designs, or paths of design files, which are explored only.
        measure: Whether each design is run and undone; the guest is paused each time.
        streams_to: The folder for machine state in files while it is measured; empty: beside the file
            that the request names, else beside the first disk's image.
        repeat: How often each design is measured.
        seed: What the order of the runs follows from, where there are several.
    """

    read: ReadRequest
    designs: tuple[str, ...]
    measure: bool = False
    streams_to: str = ""
    repeat: int = 1
    seed: int = 0


async def compare(context: Context, wish: CompareWish) -> tuple[DesignReport, ...]:
    """Compare designs for a request on a running VM.

    Returns:
        A report for each design, in order; without `measure` the VM was asked questions only, with it
        it holds and does what it did before.

    Raises:
        BadInput: The request is malformed, or a design unknown.
        Refused: The request cannot be done, a name of the comparison is taken, or an earlier run is
            unfinished; nothing was made.
        RunFailed: A measured run failed; it was undone, or the error says what is left.
        CannotConnect: The VM does not answer.
    """
    if not wish.measure:
        facts = await ask_facts(context.backend)
        return compare_and_explore(wish.read, facts, wish.designs, facts.memory_bytes or None)
    async with met_and_locked(context.backend, context.store, context.address) as held:
        check_nothing_pending(held.vm)
        backend, facts = held.met.backend, await held.facts()
        reports = compare_and_explore(wish.read, facts, wish.designs, facts.memory_bytes or None)
        measured = evolve(context, backend=backend)
        return await _measured(
            measured, wish, facts, reports, images=backend.images, host=backend.host
        )


def compare_by_facts(wish: CompareWish, facts: Facts) -> tuple[DesignReport, ...]:
    """The same by facts alone; nothing is measured, and the guest's memory is not known."""
    return compare_and_explore(wish.read, facts, wish.designs)


async def measure_simulated(
    context: Context, wish: CompareWish, reports: tuple[DesignReport, ...]
) -> tuple[DesignReport, ...]:
    """Measure on a simulated VM, which is nobody's: no lock is held, and the times are the simulator's.

    Args:
        context: The simulated VM; of the store nothing is used.
        wish: What is compared.
        reports: What was predicted for it.
    """
    # no images: the facts may name files of this machine, and they are not this VM's
    facts = await ask_facts(context.backend)
    return await _measured(context, wish, facts, reports, images=None, host=None)


async def _measured(  # noqa: PLR0913 - what a measurement is done with
    context: Context,
    wish: CompareWish,
    facts: Facts,
    reports: tuple[DesignReport, ...],
    *,
    images: Images | None,
    host: Host | None,
) -> tuple[DesignReport, ...]:
    teller = telling(context.reporter)
    able = {each.design: each.program for each in reports if each.program and not each.problems}
    away = [name for name in able if host is None and _on_host(able[name])]
    for name in away:
        teller.note(f"{name} is not run: its files would be on a host that is not there")
    measuring = Measuring(
        context.backend,
        wish.read,
        images,
        host,
        wish.streams_to,
        tell=teller.note,
        repeat=wish.repeat,
        seed=wish.seed,
    )
    designs = tuple(name for name in able if name not in away)
    measured = await context.awaiting(measuring.measure(facts, designs), measuring.interrupt)
    return tuple(_with_runs(report, measured.get(report.design, ())) for report in reports)


def _with_runs(report: DesignReport, runs: tuple[Measurement, ...]) -> DesignReport:
    return evolve(report, measured=typical(runs), runs=runs) if runs else report


def _on_host(program: Program) -> bool:
    return any(step.target is Target.HOST for step in program.steps)
