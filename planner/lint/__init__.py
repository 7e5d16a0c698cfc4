"""Lints any sequence of QMP commands, hand-written ones too.

A sequence is read (`reading`), tried on the semantics of the VM that it is for or that it tells of
(`vm`, `walk`), and judged at each command by small rules (`rules_*`, a function each) and at the end
by what it has captured (`captures`).  A finding names the line, the rule, the reason, and what would
be right.  Rule ids are those of `specs/invariants.md`; the traps' codes are in `specs/exit-codes.md`.
"""

from planner.lint.of_plan import listing_of_plan
from planner.lint.program import Command, Finding, LintReport, Listing, Said
from planner.lint.reading import read_listing
from planner.lint.walk import lint

__all__ = [
    "Command",
    "Finding",
    "Listing",
    "LintReport",
    "Said",
    "lint",
    "listing_of_plan",
    "read_listing",
]
