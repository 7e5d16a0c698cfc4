"""Every rule and code that a finding of `check` may carry, taken from the code itself."""

import ast
from pathlib import Path

from tests.unit.test_codes import documented

ROOM = Path(__file__).parents[2] / "planner"
PASSED_ON = {
    "model/tag.py": None,
    "parts/image_limits.py": None,
    "compile/refusals.py": "disk_problems",
    "parts/reverted_disk.py": "can_be_internal",
}
"""Whose problems become findings: of which file, and of which function of it; None: of all."""
NOT_FOUND = {"node-inactive", "program-unreadable"}
"""Said in the same places, and never of a command: the one is called active-before-undo there."""


def codes_in(tree):
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {word for word in words if isinstance(word, str)} & documented()


def codes_of(file, function):
    tree = ast.parse((ROOM / file).read_text())
    if function is None:
        return codes_in(tree)
    (named,) = (node for node in tree.body if getattr(node, "name", "") == function)
    return codes_in(named)


def lint_codes():
    places = [(file, None) for file in (ROOM / "lint").glob("*.py")]
    return set().union(*(codes_of(*place) for place in (*places, *PASSED_ON.items()))) - NOT_FOUND
