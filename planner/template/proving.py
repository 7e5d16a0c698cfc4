"""A clone's command line is proved before anything of it is made.

The line is the user's, with our words in it, and QEMU says nothing to most of what can be wrong with it.
The rules are those of `planner.verify.template`, which reads QEMU's words and not ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.errors import Violation
from planner.model.facts import QemuVersion
from planner.parts.template import Template
from planner.program.template_acts import MadeFrom, MemoryFile
from planner.verify.template import start_problems

__all__ = ["made_from", "prove_start"]


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
