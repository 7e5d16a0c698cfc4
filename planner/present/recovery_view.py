"""Runs that have not ended, and what recovery made of them, for a person and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from planner.present.outputs import decimal, output
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain
from planner.recover.recovery import Pending, Recovered
from planner.run.actions import Action, Send
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.save.save_run import SaveRun
from planner.store.journaled import Run

__all__ = [
    "forgotten_to_plain",
    "pending_text",
    "pending_to_plain",
    "recovered_text",
    "recovered_to_plain",
]


def pending_text(pending: Sequence[Pending]) -> str:
    """What is pending, and what to do about it."""
    return as_lines(map(_pending_line, pending)) or "nothing is pending"


def _pending_line(pending: Pending) -> str:
    if pending.replayed is None or pending.journal is None:
        return as_lines(f"{pending.path}: cannot be used: {p.message}" for p in pending.problems)
    header = pending.journal.header
    return (
        f"{header.run}  {pending.replayed.run.what} on {header.address}: "
        f"{_standing(pending)}; snapplan recover --vm {header.address}"
    )


def _standing(pending: Pending) -> str:
    replayed = pending.replayed
    if replayed is None:
        return "not known"
    action = replayed.action
    if isinstance(action, Outcome):
        return {
            Phase.DONE: "whole, and only its record is missing",
            Phase.UNDONE: "undone",
        }.get(action.phase, "undone in part")
    doing = _words(action)
    if replayed.unknown:
        return f"what became of {doing} is not known"
    return f"stopped before {doing} ({replayed.machine.context.phase})"


def _words(action: Action) -> str:
    return action.command if isinstance(action, Send) else type(action).__name__


def pending_to_plain(pending: Sequence[Pending]) -> dict[str, object]:
    """What `pending_text` says, as plain values."""
    return output("recover", {"pending": [_plain(each) for each in pending]})


def _plain(pending: Pending) -> dict[str, object]:
    found: dict[str, object] = {"journal": str(pending.path), "vm-key": pending.vm.vm_key}
    if pending.journal is not None:
        header = pending.journal.header
        found |= {
            "run": header.run,
            "address": header.address,
            "started-ns": decimal(header.started_ns),
        }
    if pending.replayed is not None:
        found |= {
            "tag": pending.replayed.run.tag,
            "what": pending.replayed.run.what,
            "standing": _standing(pending),
        }
    found["problems"] = [problem_to_plain(problem) for problem in pending.problems]
    return found


def forgotten_to_plain(forgotten: Sequence[Pending]) -> dict[str, object]:
    """Whose journals are gone, as plain values."""
    return output("recover", {"forgotten": [_plain(each) for each in forgotten]})


def recovered_text(recovered: Sequence[Recovered]) -> str:
    """What became of each run."""
    return as_lines(map(_recovered_line, recovered)) or "nothing was pending"


def _recovered_line(recovered: Recovered) -> str:
    tag, outcome = recovered.replayed.run.tag, recovered.outcome
    if not isinstance(recovered.replayed.run, SaveRun):
        return _order_line(recovered.replayed.run, outcome)
    if outcome.phase is Phase.DONE:
        return f"Snapshot {tag!r} is complete. Manifest: {recovered.manifest}"
    undone = "; ".join(outcome.undone) or "there was nothing to undo"
    return f"Snapshot {tag!r} is undone: {undone}. The VM is {outcome.run_state}."


def _order_line(run: Run, outcome: Outcome) -> str:
    state = f" The VM is {outcome.run_state}." if outcome.run_state else ""
    if outcome.phase is Phase.DONE:
        done = "loaded" if run.what.startswith("load") else "deleted"
        return f"Snapshot {run.tag!r} is {done}.{state}"
    return f"{run.what}: nothing of it was done.{state}"


def recovered_to_plain(recovered: Sequence[Recovered], name: str = "recover") -> dict[str, object]:
    """What `recovered_text` says, as plain values; an output of this name."""
    return output(
        name,
        {
            "recovered": [
                {
                    "tag": each.replayed.run.tag,
                    "end": each.outcome.phase.value,
                    "run-state": each.outcome.run_state,
                    "undone": list(each.outcome.undone),
                    "manifest": None if each.manifest is None else str(each.manifest),
                }
                for each in recovered
            ],
        },
    )
