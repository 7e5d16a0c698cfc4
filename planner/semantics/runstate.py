"""Run states: stopping, continuing, and which state forbids what.

Theory: `stop` changes something only while the guest runs, and `cont` only while it does not; every
internal stop (save-vm, restore-vm, finish-migrate) is the same `stop` with another name for the
state.  That is why a VM stopped beforehand shows no STOP and RESUME (fact 4).
"""

from __future__ import annotations

from attrs import evolve

from planner.semantics.block import set_active
from planner.semantics.result import CommandResult, QmpError, QmpEvent, StepEffect, generic
from planner.semantics.state import VmState

__all__ = ["NEEDS_RESET", "cont", "quit_qemu", "resume_guest", "stop", "stop_guest", "system_reset"]

NEEDS_RESET = frozenset({"internal-error", "shutdown"})


def stop_guest(state: VmState, run_state: str) -> StepEffect:
    """Stop the guest if it runs; else nothing changes, not even the run state."""
    if not state.running:
        return StepEffect(state)
    return StepEffect(evolve(state, run_state=run_state), (QmpEvent("STOP"),))


def resume_guest(state: VmState) -> StepEffect:
    """Let the guest run; nothing happens if it does."""
    if state.running:
        return StepEffect(state)
    return StepEffect(evolve(state, run_state="running"), (QmpEvent("RESUME"),))


def stop(state: VmState) -> CommandResult:
    """The command `stop`."""
    done = stop_guest(state, "paused")
    return CommandResult(done.state, {}, None, done.events, len(done.events))


def cont(state: VmState) -> CommandResult:
    """The command `cont`: it also makes inactive nodes active again (fact 29)."""
    refusal = _cont_refusal(state)
    if refusal:
        return CommandResult(state, error=refusal)
    if state.run_state in {"suspended", "inmigrate"}:
        return CommandResult(
            state, {}
        )  # a suspended guest waits for a wake-up; an incoming one for its end
    done = resume_guest(set_active(state, active=True))
    return CommandResult(done.state, {}, None, done.events, len(done.events))


def _cont_refusal(state: VmState) -> QmpError | None:
    if state.run_state in NEEDS_RESET:
        return generic("Resetting the Virtual Machine is required")
    if state.run_state == "finish-migrate":
        return generic("Migration is not finalized yet")
    return None


def system_reset(state: VmState) -> CommandResult:
    """The command `system_reset`: a guest that stood is in ``prelaunch`` then (fact 77)."""
    version = state.versions_used + 1
    fresh = evolve(state, machine_version=version, versions_used=version)
    keeps = state.run_state in {"running", "inmigrate", "finish-migrate"}
    after = fresh if keeps else evolve(fresh, run_state="prelaunch")
    event = QmpEvent("RESET", (("guest", False), ("reason", "host-qmp-system-reset")))
    return CommandResult(after, {}, None, (event,), 0)


def quit_qemu(state: VmState) -> CommandResult:
    """The command `quit`: QEMU says so, answers, and is gone."""
    event = QmpEvent("SHUTDOWN", (("guest", False), ("reason", "host-qmp-quit")))
    return CommandResult(evolve(state, died="quit"), {}, None, (event,), 1)
