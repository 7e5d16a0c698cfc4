"""Findings about code that QEMU has translated, and that outlives a load (fact 76).

From 10.2 on a QEMU that translates the guest's code itself (TCG) forgets the translations only when the
load itself stops the guest.  Sequences that stop it first are everywhere, and right on every older QEMU
and under KVM; so it is a finding where the facts say that this VM is such a one, and a note where
nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.lint.moment import Moment, Rule
from planner.lint.program import Finding

__all__ = ["RULES", "code_notes"]

_SINCE = (10, 2)
_NEVER_RAN = ("restore-vm", "prelaunch", "inmigrate")
"""A load stopped it, or nothing of the guest has run yet."""
_WHY = "QEMU 10.2 and later under TCG then goes on with code that it translated before (fact 76)"


def _stale_code(at: Moment) -> Iterator[Finding]:
    facts = at.stage.facts
    hardware = None if facts is None else facts.hardware
    if _stands(at) and hardware is not None and hardware.accelerator == "tcg" and _is_new(at):
        yield at.finding(
            "stale-code",
            f"the guest stands already: {_WHY}, and a guest whose code was another then breaks",
            "let snapshot-load stop the guest, or stop it by a snapshot-load of a tag that nothing has",
        )


def code_notes(at: Moment) -> Iterator[str]:
    """What the same rule would find if it knew the VM; nothing: it knows, or it does not matter."""
    facts = at.stage.facts
    accelerator = "" if facts is None or facts.hardware is None else facts.hardware.accelerator
    if _stands(at) and not accelerator and (_is_new(at) or not at.stage.version):
        yield f"whether the guest runs the code that line {at.command.line} loads: it stands, and {_WHY}"


def _stands(at: Moment) -> bool:
    standing = not at.state.running and at.state.run_state not in _NEVER_RAN
    return at.execute == "snapshot-load" and standing


def _is_new(at: Moment) -> bool:
    return at.stage.version[:2] >= _SINCE


RULES: tuple[Rule, ...] = (_stale_code,)
