"""A delete as a journal holds it, and how it is gone on with after a crash.

It is always finished.  It does not need its journal once its end is known: a delete is finished by
another delete.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from attrs import frozen
from cattrs import Converter

from planner.delete.delete_checks import DeletedPart, DeletePlan
from planner.delete.deleting import DELETION, DeleteMachine
from planner.errors import BadInput, Problem
from planner.host.files import remove_file
from planner.model.file_format import FileFormat
from planner.model.strict import strict_converter, write_with_hyphens
from planner.parts.deletions import MergedOverlay
from planner.run.actions import Action, HostDo, NotSent, Response, Send
from planner.run.journal import Header
from planner.run.machine import Machine
from planner.run.observation import Baseline
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.store.journaled import JournaledRun, Run

__all__ = ["DELETE_PLANS", "DeleteRun", "forget_manifest"]


@cache  # most commands need none of them
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (DeletedPart, MergedOverlay, DeletePlan):
        write_with_hyphens(converter, kind)
    return converter


DELETE_PLANS = FileFormat(
    "snapplan-delete", 1, DeletePlan, _converter, "order-malformed", "cannot be used"
)


@frozen
class DeleteRun(Run):
    """A delete.

    Attributes:
        order: What to delete; it passed the preflight.
    """

    order: DeletePlan

    @classmethod
    def read(cls, header: Header, source: str) -> DeleteRun:
        """The delete that a journal holds."""
        return cls(DELETE_PLANS.from_plain(header.plan, source))

    @property
    def tag(self) -> str:
        """See `Run.tag`."""
        return self.order.tag

    @property
    def what(self) -> str:
        """See `Run.what`."""
        return f"delete {self.tag!r}"

    @property
    def baseline(self) -> Baseline:
        """See `Run.baseline`."""
        return DeleteMachine.of(self.order).context.baseline

    def to_plain(self) -> dict[str, object]:
        """See `Run.to_plain`."""
        return DELETE_PLANS.to_plain(self.order)

    def machine(self, baseline: Baseline, deadline_s: float | None = None) -> Machine:
        """See `Run.machine`."""
        del baseline, deadline_s
        return DeleteMachine.of(self.order)

    def record_end(self, outcome: Outcome, begun: JournaledRun) -> Path | None:
        """Forget the manifest of a snapshot that is deleted."""
        del begun
        forget_manifest(self.order, outcome)
        return None

    def leaves_nothing_to_do(self, outcome: Outcome) -> bool:
        """Whether what became of it is known."""
        return outcome.phase is not Phase.UNKNOWN

    def files(self) -> Iterator[str]:
        """See `Run.files`."""
        yield from self.order.streams
        yield from (merge.overlay_file for merge in self.order.merges)

    def may_be_repeated(self, action: Action) -> bool:
        """See `Run.may_be_repeated`."""
        return isinstance(action, HostDo) or super().may_be_repeated(action)

    def told_instead(self, machine: Machine, action: Action, *, unknown: bool) -> Response | None:
        """A deletion that had not been sent is not sent now: the machine looks again, and goes on."""
        if not unknown and isinstance(action, Send) and action.command == DELETION:
            return NotSent("run-killed", "snapplan ended before this was sent")
        return super().told_instead(machine, action, unknown=unknown)


def forget_manifest(order: DeletePlan, outcome: Outcome) -> None:
    """Remove a deleted snapshot's manifest.

    It goes last: as long as it is there, another delete finishes this one.

    Raises:
        BadInput: All parts are deleted, and it cannot be removed (``store-unwritable``).
    """
    if outcome.phase is not Phase.DONE or not order.manifest_file:
        return
    path = Path(order.manifest_file)
    try:
        remove_file(path)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("store-unwritable", str(path), why, "remove it by hand")
        raise BadInput(
            f"all parts are deleted, and the manifest cannot be removed: {why}",
            problems=(problem,),
            code=problem.code,
            vm_state="All parts of the snapshot are deleted.",
        ) from error
