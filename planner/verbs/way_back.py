"""The way back from a load: what is there now is saved first, under a tag of its own."""

from __future__ import annotations

from attrs import frozen

from planner.compile.plan import Plan
from planner.load.load_checks import LoadPlan
from planner.load.way_back import after_keeping, keeping_plan, keeping_pump
from planner.model.facts import Facts
from planner.parts.manifest import Manifest
from planner.run.outcome import Outcome
from planner.run.progress import Meter
from planner.save.before_save import check_tag_free
from planner.save.save_run import begin_save
from planner.store.journaled import JournaledRun
from planner.store.meeting import Met
from planner.store.store import VmStore
from planner.verbs.context import Context

__all__ = ["WayBack"]


@frozen
class WayBack:
    """A save that goes before a load.

    Attributes:
        tag: Of the snapshot of what is there now.
        plan: How it is made.
        facts: The VM that it was planned for.
    """

    tag: str
    plan: Plan
    facts: Facts

    @classmethod
    def planned(cls, tag: str, vm: VmStore, manifest: Manifest, facts: Facts) -> WayBack:
        """Plan it.

        Raises:
            Refused: It cannot be made safely, or the tag is taken.
        """
        plan = keeping_plan(tag, manifest, facts)
        check_tag_free(vm, plan, facts)
        return cls(tag, plan, facts)

    def before(self, order: LoadPlan) -> LoadPlan:
        """The load, on the VM that this save has stopped."""
        return after_keeping(order, self.tag)

    async def save(
        self, context: Context, met: Met, vm: VmStore, loading: JournaledRun, meter: Meter | None
    ) -> None:
        """Make it; where that fails there is no load, and no record of one.

        Raises:
            RunFailed: It failed and was undone, or its problems say what is left.
        """
        backend = context.backend
        run = begin_save(vm, met.identity, self.plan, self.facts, instance=met.instance)
        pump = keeping_pump(
            *(run, backend),
            images=backend.images,
            host=backend.host,
            reporter=context.reporter,
            meter=meter,
        )

        async def work() -> Outcome:
            outcome = await pump.run()
            if outcome.failure is not None:
                loading.journal.remove()
            run.settle(outcome)
            return outcome

        outcome = await context.awaiting(work(), pump.interrupt)
        outcome.raise_failure()
