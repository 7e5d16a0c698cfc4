"""Small pieces of text that several views share."""

from __future__ import annotations

from planner.errors import Problem, RunFailed, SnapplanError
from planner.present.outputs import output
from planner.present.visible import as_lines

__all__ = [
    "bytes_text",
    "clock_text",
    "error_text",
    "error_to_plain",
    "problem_to_plain",
]


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def clock_text(vm_clock_ns: int) -> str:
    """The guest's clock (vm-clock) of a snapshot, in seconds."""
    return f"{vm_clock_ns / 1e9:.9f} s"


def bytes_text(count: int) -> str:
    """A number of bytes with a binary unit."""
    value = float(count)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} {_UNITS[-1]}"


def problem_to_plain(problem: Problem) -> dict[str, str]:
    """A problem as plain values."""
    return {
        "code": problem.code,
        "subject": problem.subject,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def error_to_plain(error: SnapplanError) -> dict[str, object]:
    """An error as plain values, for ``--json``; `error.schema.json` says what each means."""
    plain: dict[str, object] = {
        "code": error.code,
        "message": error.message,
        "exit-code": error.exit_code,
        "vm-state": error.vm_state,
        "problems": [problem_to_plain(problem) for problem in error.problems],
    }
    if isinstance(error, RunFailed):
        plain |= {
            "run-state": error.run_state,
            "undone": list(error.undone),
            "left": [problem_to_plain(problem) for problem in error.left],
            "pause-us": error.pause_us,
        }
    return output("error", {"error": plain})


def error_text(error: SnapplanError) -> str:
    """An error for a person: what happened, each cause, and the state that the VM is in.

    Each is said once: a cause whose words are the error's own has no line but its remedy.
    """
    lines = [f"snapplan: {error.message} [{error.code}]"]
    lines += [f"  {line}" for problem in error.problems if (line := _unsaid(problem, error))]
    lines.append(f"  {error.vm_state}")
    return as_lines(lines)


def _unsaid(problem: Problem, error: SnapplanError) -> str:
    """What of a cause the error's own line does not say; empty: nothing."""
    if problem.message not in error.message or (problem.remedy and problem.code != error.code):
        return f"- {problem}"
    return f"What to do: {problem.remedy}" if problem.remedy else ""
