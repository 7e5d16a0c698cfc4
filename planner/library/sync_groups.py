"""The blocking twin of `planner.library.groups`: each method waits, in a loop that lasts as long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from attrs import frozen

from planner.group.planning import GroupPlan
from planner.library import groups
from planner.library.groups import Group as AsyncGroup
from planner.library.loop import once
from planner.library.progress import OnProgress
from planner.library.vm import Vm as AsyncVm
from planner.model.request import Request, RunStateAfter
from planner.present.group_view import GroupVerdict
from planner.run.outcome import Outcome

__all__ = ["Group", "find_group", "plan_group", "save_group"]


class AttachedVm(Protocol):
    """A `snapplan.sync.Vm`."""

    @property
    def elsewhere(self) -> AsyncVm:
        """The same VM for work in another loop: that of a group has one for all its members."""
        ...


@frozen
class Group:
    """A group that was saved; each method is that of `snapplan.Group`, and blocks."""

    asynchronous: AsyncGroup

    @property
    def name(self) -> str:
        """Its name."""
        return self.asynchronous.name

    @property
    def standing(self) -> str:
        """``whole``, ``incomplete`` or ``pending``."""
        return self.asynchronous.standing

    @property
    def members(self) -> tuple[str, ...]:
        """Its members' names."""
        return self.asynchronous.members

    def load(  # noqa: PLR0913 - as its twin
        self,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        keep_current: str = "",
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
        accept_changed: Mapping[str, Iterable[str]] | None = None,
        accept_cpu: bool = False,
    ) -> Mapping[str, Outcome]:
        """Go back to it with all members; no guest goes on until all are loaded."""
        loading = self.asynchronous.load(
            run_state_after=run_state_after,
            keep_current=keep_current,
            on_progress=on_progress,
            deadline_s=deadline_s,
            accept_changed=accept_changed,
            accept_cpu=accept_cpu,
        )
        return once(loading)

    def verify(self) -> GroupVerdict:
        """Compare every member's snapshot with its record."""
        return once(self.asynchronous.verify())

    def check_load(
        self, *, run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE
    ) -> Mapping[str, str]:
        """Look whether `load` could be done, and say by member what it would do."""
        return once(self.asynchronous.check_load(run_state_after=run_state_after))

    def check_delete(self) -> Mapping[str, str]:
        """Look whether `delete` could be done, and say by member what it would do."""
        return once(self.asynchronous.check_delete())

    def delete(self) -> None:
        """Delete the snapshot of every member, and the group's record last."""
        once(self.asynchronous.delete())


def plan_group(
    members: Mapping[str, AttachedVm],
    name: str,
    *,
    requests: Mapping[str, Request] | None = None,
    partial: bool = False,
) -> GroupPlan:
    """Plan what `save_group` would do; see `snapplan.plan_group`."""
    asked = {each: vm.elsewhere for each, vm in members.items()}
    return once(groups.plan_group(asked, name, requests=requests, partial=partial))


def save_group(  # noqa: PLR0913 - each is a wish of its own
    members: Mapping[str, AttachedVm],
    name: str,
    *,
    requests: Mapping[str, Request] | None = None,
    partial: bool = False,
    pause_budget_ms: float | None = None,
    deadline_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Group:
    """Take a snapshot of several VMs at one instant; see `snapplan.save_group`."""
    saving = groups.save_group(
        {each: vm.elsewhere for each, vm in members.items()},
        name,
        requests=requests,
        partial=partial,
        pause_budget_ms=pause_budget_ms,
        deadline_s=deadline_s,
        on_progress=on_progress,
    )
    return Group(once(saving))


def find_group(members: Mapping[str, AttachedVm], name: str) -> Group:
    """A group that was saved before; see `snapplan.find_group`."""
    return Group(groups.find_group({each: vm.elsewhere for each, vm in members.items()}, name))
