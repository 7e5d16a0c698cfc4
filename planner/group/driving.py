"""Drives the runs of a group's members at once, and gives the group up when one of them fails.

Rules: every run that has begun ends by its own machine's words, as a run alone does; but one that fails
takes the others with it.  Stopping a group stops every member.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from attrs import frozen

from planner.group.gatekeeper import Gatekeeper
from planner.run.outcome import Outcome
from planner.run.pump import Pump

__all__ = ["Driving"]


@frozen
class Driving:
    """The runs of one group.

    Attributes:
        keeper: Of the gates that the pumps wait at.
        pumps: What drives each member, by its name.
    """

    keeper: Gatekeeper
    pumps: Mapping[str, Pump]

    def interrupt(self) -> None:
        """Stop every member: the step in hand is finished, then all is undone.

        Once a decision is made there is no way back, and the shortest way out is on.
        """
        if self.keeper.decided:
            return
        self._give_up("interrupted", "", "it was interrupted")

    async def run(self) -> dict[str, Outcome]:
        """Run all members to their ends; how each ended, by its name."""
        tasks = {name: asyncio.create_task(self._one(name)) for name in self.pumps}
        try:
            await asyncio.wait(tasks.values())
        finally:
            self.keeper.close()
        bugs = [bug for task in tasks.values() if (bug := task.exception()) is not None]
        for bug in bugs:  # each was looked at: asyncio complains of none of them
            raise bug
        return {name: task.result() for name, task in tasks.items()}

    async def _one(self, name: str) -> Outcome:
        try:
            outcome = await self.pumps[name].run()
        except BaseException as error:
            self._give_up("internal-error", name, f"a bug in snapplan: {type(error).__name__}")
            raise
        failure = outcome.failure
        if failure is not None:
            self._give_up(failure.code, name, f"{failure.where}: {failure.message}")
        return outcome

    def _give_up(self, code: str, member: str, why: str) -> None:
        if self.keeper.gave_up is not None or self.keeper.final:
            return
        self.keeper.give_up(code, member, why)
        for pump in self.pumps.values():
            pump.interrupt()
