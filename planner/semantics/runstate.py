"""Run states: stopping, continuing, and which state forbids what.

Theory: `stop` changes something only while the guest runs, and `cont` only while it does not; every
internal stop (save-vm, restore-vm, finish-migrate) is the same `stop` with another name for the
state.  That is why a VM stopped beforehand shows no STOP and RESUME (fact 4).
"""

from __future__ import annotations

from attrs import evolve

from planner.semantics.block import set_active
from planner.semantics.result import Event, Progress, QmpError, Result, generic
from planner.semantics.state import VmState

__all__ = ["NEEDS_RESET", "cont", "quit_qemu", "resume_guest", "stop", "stop_guest"]

NEEDS_RESET = frozenset({"internal-error", "shutdown", "guest-panicked"})


def stop_guest(state: VmState, run_state: str) -> Progress:
    """Stop the guest if it runs; else nothing changes, not even the run state."""
    if not state.running:
        return Progress(state)
    return Progress(evolve(state, run_state=run_state), (Event("STOP"),))


def resume_guest(state: VmState) -> Progress:
    """Let the guest run; nothing happens if it does."""
    if state.running:
        return Progress(state)
    return Progress(evolve(state, run_state="running"), (Event("RESUME"),))


def stop(state: VmState) -> Result:
    """The command `stop`."""
    done = stop_guest(state, "paused")
    return Result(done.state, {}, None, done.events, len(done.events))


def cont(state: VmState) -> Result:
    """The command `cont`: it also makes inactive nodes active again (fact 29)."""
    refusal = _cont_refusal(state)
    if refusal:
        return Result(state, error=refusal)
    if state.run_state in {"suspended", "inmigrate"}:
        return Result(
            state, {}
        )  # a suspended guest waits for a wake-up; an incoming one for its end
    done = resume_guest(set_active(state, active=True))
    return Result(done.state, {}, None, done.events, len(done.events))


def _cont_refusal(state: VmState) -> QmpError | None:
    if state.run_state in NEEDS_RESET:
        return generic("Resetting the Virtual Machine is required")
    if state.run_state == "finish-migrate":
        return generic("Migration is not finalized yet")
    return None


def quit_qemu(state: VmState) -> Result:
    """The command `quit`: QEMU says so, answers, and is gone."""
    event = Event("SHUTDOWN", (("guest", False), ("reason", "host-qmp-quit")))
    return Result(evolve(state, died="quit"), {}, None, (event,), 1)
