"""How a load ends: the truth about each disk, and the VM brought back where nothing was reverted.

Whatever happened, the migration settings that the load changed are put back as far as QEMU answers.
"""

from __future__ import annotations

from attrs import define, field, frozen

from planner.errors import Problem
from planner.load.load_checks import LoadPlan
from planner.load.load_failure import UNTOUCHED, RevertedDisks, everything_perhaps
from planner.load.vmstate_node import remove_node
from planner.run.actions import Flow, Tell
from planner.run.conversation import Gone, Silent
from planner.run.machine import Machine
from planner.run.migrating import put_settings
from planner.run.outcome import Failure, Outcome
from planner.run.phases import Phase

__all__ = ["EndingLoad", "LoadOutcome"]


@frozen
class LoadOutcome(Outcome):
    """The end of a load.

    Attributes:
        loaded: Whether the snapshot was loaded, whole, whatever came after.
        reverted: What a load that failed did to the disks.
    """

    loaded: bool = False
    reverted: RevertedDisks = UNTOUCHED

    def _vm_state(self) -> str:
        state = f"The VM is {self.run_state}" if self.run_state else "The VM cannot be asked"
        if self.loaded:
            return f"{state}; the snapshot is loaded on all its disks."
        if self.phase is Phase.UNKNOWN:
            if self.reverted.nothing:
                return f"{state}; no disk was reverted."
            return f"{state}; whether the load was done is not known. Do not let the guest run."
        if self.reverted.nothing:
            undone = f"; {'; '.join(self.undone)}" if self.undone else ""
            return f"{state}{undone}; no disk was reverted."
        return f"{state}, and must not run: its disks may be of two instants; see the problems."


def _of_another_instant(run_state: str) -> Problem:
    """Why a member of a group is left as it is: what it would go on with is no instant of the group."""
    words = f"other members may be loaded and this one not, or not all of them: it is left {run_state!r}"
    remedy = "load the group again (`snapplan group load`); until then let no member run"
    return Problem("group-load-unfinished", "vm", words, remedy)


@define
class EndingLoad(Machine):
    """What a load knows of itself, and how it ends.

    Attributes:
        order: What to load; it passed the preflight.
    """

    order: LoadPlan = field(kw_only=True)
    _unknown: bool = field(init=False, default=False)
    _loaded: bool = field(init=False, default=False)
    _reverted: RevertedDisks = field(init=False, default=UNTOUCHED)
    _settings_left: str = field(init=False, default="")
    _node_left: str = field(init=False, default="")
    _reset: bool = field(init=False, default=False)
    _bound: bool = field(init=False, default=False)

    def _failure(self, code: str, message: str) -> Failure:
        return Failure(code, self.context.where or "the start", message)

    def _failed(self, failure: Failure) -> Flow[Outcome]:
        """Tell the truth, and bring the VM back where nothing was reverted."""
        yield Tell(f"failed: {failure.where}: {failure.message}")
        self.context.go(Phase.INSPECTING)
        if self._unknown and not self._loaded:  # sent, and nothing is known of it
            self._reverted = everything_perhaps(self.order)
        try:
            yield from self._remove_node()
            yield from self._put_settings_back()
            run_state = yield from self.context.run_state()
            if not self._loaded and self._reverted.nothing and not self._bound:
                return (yield from self._bring_back(failure, run_state))
        except Gone:
            return self._gone(failure)
        except Silent as silent:
            return self._silent(failure, silent)
        except Exception as error:  # noqa: BLE001 - likewise: then nothing is known
            return self._silent(failure, Silent(str(error)))
        left = self._settings_problems()
        if self._bound:
            left = (_of_another_instant(run_state), *left)
        if not self._loaded:
            left = (*self._reverted.problems(self.order), *left)
        elif run_state != self.order.run_state_after or not left:
            words = (
                f"the snapshot is loaded, and the VM is {run_state!r} where "
                f"{self.order.run_state_after!r} was asked for"
            )
            remedy = "stop or continue it by hand"
            left = (Problem("run-state-changed", "vm", words, remedy), *left)
        return self._end(Phase.INCOMPLETE, run_state, failure, left)

    def _remove_node(self) -> Flow[None]:
        """Take the node out of QEMU that was added for the load; what cannot be done is told as left."""
        if self.order.image is not None:
            why = yield from remove_node(self.context, self.order.image)
            self._node_left = self._node_left or why

    def _put_settings_back(self) -> Flow[str]:
        """Make the migration settings again what they were; why that cannot be done, or nothing."""
        if not self.context.settings_changed:
            return ""
        found = self.order.settings
        before = (found.capabilities_before, found.parameters_before)
        why = yield from put_settings(self.context, *before)
        self._settings_left = self._settings_left or why
        self.context.settings_changed = False
        return why

    def _settings_problems(self) -> tuple[Problem, ...]:
        left: tuple[Problem, ...] = ()
        if self._settings_left:
            words = f"migration settings are not as they were: {self._settings_left}"
            left = (Problem("settings-left", "vm", words, "set them by hand"),)
        if self._node_left and self.order.image is not None:
            words = f"QEMU keeps the node that the load has read from: {self._node_left}"
            remedy = "take it out with blockdev-del"
            left = (*left, Problem("node-left", self.order.image.node, words, remedy))
        return left

    def _bring_back(self, failure: Failure, run_state: str) -> Flow[Outcome]:
        wanted = self.order.run_state_before
        undone: tuple[str, ...] = ()
        stopped = self.context.sent_stop or self.order.stopped
        live = wanted in ("running", "suspended")
        if live and stopped and run_state in ("paused", "restore-vm"):
            run_state = yield from self.context.bring_to("cont", wanted)
            undone = ("resumed the guest",)
        self.context.go(Phase.UNDOING)
        self.context.go(Phase.RESTORING)
        left = self._settings_problems()
        if self._reset and run_state != wanted:
            words = f"it was reset for the load, and is {run_state!r} where it was {wanted!r}: what its "
            words += "guest had in memory is lost"
            left = (
                Problem("guest-reset", "vm", words, "load again, or boot it with `cont`"),
                *left,
            )
        elif wanted not in {"paused", run_state}:
            words = f"the VM is {run_state!r} and was {wanted!r} before the load"
            left = (Problem("run-state-changed", "vm", words, "bring it back by hand"), *left)
        self.context.go(Phase.INCOMPLETE if left else Phase.UNDONE)
        return self._outcome(run_state, failure, left, undone)

    def _gone(self, failure: Failure) -> Outcome:
        if self._unknown and not self._loaded:
            self._reverted = everything_perhaps(self.order)
        left: tuple[Problem, ...] = ()
        if self._loaded:
            words = "the snapshot was loaded, and then QEMU ended: the guest is gone"
            left = (Problem("run-state-changed", "vm", words, "start QEMU, and load it again"),)
        elif not self._reverted.nothing:
            left = self._reverted.problems(self.order)
        if self._bound:
            left = (_of_another_instant("gone"), *left)
        phase = Phase.INCOMPLETE if left else Phase.UNDONE
        if self.context.phase is Phase.STEPPING:
            self.context.go(Phase.INSPECTING)
        return self._end(phase, "gone", failure, left)

    def _silent(self, failure: Failure, silent: Silent) -> Outcome:
        if self.context.phase is Phase.STEPPING:
            self.context.go(Phase.INSPECTING)
        if self._unknown and not self._loaded:
            self._reverted = everything_perhaps(self.order)
        left = () if self._loaded else self._reverted.problems(self.order)
        return self._end(Phase.UNKNOWN, "", failure, (silent.problem(), *left))

    def _end(
        self, phase: Phase, run_state: str, failure: Failure, left: tuple[Problem, ...]
    ) -> Outcome:
        if phase is not Phase.UNKNOWN:
            self.context.go(Phase.UNDOING)
            self.context.go(Phase.RESTORING)
        self.context.go(phase)
        return self._outcome(run_state, failure, left)

    def _outcome(
        self,
        run_state: str,
        failure: Failure | None = None,
        left: tuple[Problem, ...] = (),
        undone: tuple[str, ...] = (),
    ) -> LoadOutcome:
        return LoadOutcome(
            self.context.phase,
            run_state,
            failure=failure,
            undone=undone,
            left=left,
            events=tuple(self.context.pauses),
            loaded=self._loaded,
            reverted=self._reverted,
        )
