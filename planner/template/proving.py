"""What makes a template and what starts a clone is proved before anything of it is made.

The command line is the user's, with our words in it, and QEMU says nothing to most of what can be wrong
with it.  The rules are those of `planner.verify.template`, which reads QEMU's words and not ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.errors import Violation
from planner.model.facts import QemuVersion
from planner.parts.template import Template
from planner.program.resolution import temporary_path
from planner.program.template_acts import (
    Act,
    MadeFrom,
    MemoryFile,
    ended,
    named,
    recorded,
    sent,
    started,
    synced,
)
from planner.template.making_plan import MakingPlan
from planner.verify.template import IGNORE_SHARED, making_problems, start_problems

__all__ = ["made_from", "planned_making", "prove_making", "prove_start"]


def made_from(template: Template) -> MadeFrom:
    """A template as the rules see it."""
    memory = (MemoryFile(each.id, each.size_bytes, each.file) for each in template.memory)
    return MadeFrom(tuple(memory), template.state.file)


def prove_start(words: Sequence[str], template: Template, qemu: QemuVersion) -> None:
    """Make sure that a clone which is started by these words harms neither itself nor its template.

    Args:
        words: QEMU's command line, with nothing left to fill in.
        template: What it is a clone of.
        qemu: Which QEMU is started.

    Raises:
        Violation: Each problem names the rule and the reason; nothing was made.
    """
    problems = start_problems(words, made_from(template), (qemu.major, qemu.minor))
    if problems:
        message = "; ".join(str(problem) for problem in problems)
        raise Violation(f"the clone would not be safe: {message}", problems=tuple(problems))


def planned_making(words: Sequence[str], plan: MakingPlan) -> tuple[tuple[Act, ...], MadeFrom]:
    """The acts of a making from start to end, and what is made by them.

    Args:
        words: The maker's command line, with nothing left to fill in.
        plan: What is made.
    """
    memory = tuple(MemoryFile(each.id, each.size_bytes, each.file) for each in plan.memory)
    template = MadeFrom(memory, plan.state)
    files = [(temporary_path(file), file) for file in template.files]
    ignoring = [{"capability": IGNORE_SHARED, "state": True}]
    acts = (
        started(*words),
        sent("migrate-incoming" if plan.holder is None else "snapshot-load"),
        sent("migrate-set-capabilities", {"capabilities": ignoring}),
        sent("migrate"),
        ended(),
        *(synced(temporary) for temporary, _ in files),
        *(named(temporary, file) for temporary, file in files),
        recorded(*template.files),
    )
    return acts, template


def prove_making(words: Sequence[str], plan: MakingPlan) -> None:
    """Make sure that a template which is made by a QEMU of this command line is what it is to be.

    Args:
        words: The maker's command line, with nothing left to fill in.
        plan: What is made.

    Raises:
        Violation: Each problem names the rule and the reason; nothing was made.
    """
    acts, template = planned_making(words, plan)
    qemu = plan.manifest.qemu
    problems = making_problems(acts, template, (qemu.major, qemu.minor))
    if problems:
        message = "; ".join(str(problem) for problem in problems)
        raise Violation(f"the template would not be safe: {message}", problems=tuple(problems))
