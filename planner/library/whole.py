"""A tag given in place of a request means everything: what cannot be saved is not left out unsaid."""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.refusals import can_be_written
from planner.errors import Problem, Refused
from planner.inspect.draft import Draft, draft_of
from planner.model.facts import Facts
from planner.model.request import Exclude, NoMachineState

__all__ = ["refuse_partial"]


def refuse_partial(facts: Facts, tag: str) -> None:
    """Refuse a tag under which not everything can be saved; the VM is as it was.

    Raises:
        Refused: Machine state, or a disk that the guest can write to, would be left out (``partial``).
    """
    problems = tuple(_left_out(draft_of(facts, tag), facts))
    if problems:
        raise Refused(
            f"not everything of the VM can be saved as {tag!r}", problems=problems, code="partial"
        )


def _left_out(draft: Draft, facts: Facts) -> Iterator[Problem]:
    if isinstance(draft.machine_state, NoMachineState) and not facts.is_daemon:
        why = "; ".join(facts.blocked_reasons) or "no disk and no folder can hold it"
        yield Problem(
            "partial",
            "machine state",
            f"it cannot be saved ({why}), and without it a load starts the guest as after a power cut",
            "save a request with `machine-state: none` (`NoMachineState()`), or pass partial=True",
        )
    disks = {disk.name: disk for disk in facts.disks}
    for drafted in draft.disks:
        if isinstance(drafted.wish, Exclude) and can_be_written(disks[drafted.name]):
            yield Problem(
                "partial",
                drafted.name,
                drafted.why,
                "save a request that excludes it (`Exclude()`), or pass partial=True",
            )
