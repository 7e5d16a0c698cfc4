"""The designs by name, and which of them can do a request.

`auto` is no design: it is the first of `DESIGNS` that can do the request, with the reasons why those
before it cannot.  Machine state in an image of its own has a design of its own, and no other can do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from planner.compile.lowering import (
    background,
    external,
    live,
    monolithic,
    transactional,
    vmstate_node,
)
from planner.errors import BadInput, Problem, Refused
from planner.model.request import RunStateAfter
from planner.program.program import Step
from planner.program.resolution import DiskCopy, Resolution

__all__ = ["AUTO", "DESIGNS", "Design", "choose_design"]

AUTO = "auto"


@frozen
class Design:
    """An instruction set.

    Attributes:
        name: What the user calls it.
        problems: Why it cannot do a request; nothing where it can.
        instructions: The steps that cover a request that it can do, in no order.
    """

    name: str
    problems: Callable[[Resolution], Iterator[Problem]]
    instructions: Callable[[Resolution], Iterator[Step]]

    @property
    def makes_copies(self) -> bool:
        """Whether it can copy a disk, as its own `problems` say of a request for one copy alone."""
        return _COPIED not in {problem.subject for problem in self.problems(_ONE_COPY)}


_COPIED = "disk"
_ONE_COPY = Resolution(
    tag="tag",
    vmstate="",
    stream=None,
    internal=(),
    overlays=(),
    excluded=(),
    replaced=(),
    run_state_before=RunStateAfter.RUNNING,
    run_state_after=RunStateAfter.RUNNING,
    copies=(DiskCopy(_COPIED, _COPIED, "/copy", "target", "/disk", 1, "job"),),
)
"""A request for the copy of one disk, and nothing else."""

DESIGNS: tuple[Design, ...] = tuple(
    Design(module.NAME, module.problems, module.instructions)
    for module in (monolithic, transactional, external, live, background, vmstate_node)
)


def choose_design(name: str, resolution: Resolution) -> tuple[Design, tuple[Problem, ...]]:
    """Find the design to use.

    Args:
        name: A design's name, or `auto`.
        resolution: What it is to do.

    Returns:
        The design, and why those that `auto` tried before it cannot do the request.

    Raises:
        BadInput: No design is called so.
        Refused: The design, or with `auto` every design, cannot do the request.
    """
    known = ", ".join([AUTO, *(design.name for design in DESIGNS)])
    wanted = vmstate_node.NAME if name == AUTO and resolution.vmstate_node is not None else name
    candidates = [design for design in DESIGNS if wanted in (AUTO, design.name)]
    if not candidates:
        problem = Problem("design-unknown", name, "no design is called so", f"known are: {known}")
        raise BadInput(f"unknown design {name!r}", problems=(problem,), code=problem.code)
    reasons: list[Problem] = []
    for design in candidates:
        found = sorted(design.problems(resolution))
        if not found:
            return design, tuple(reasons)
        reasons.extend(found)
    raise Refused(
        "no design can do this request"
        if name == AUTO
        else f"design {name} cannot do this request",
        problems=tuple(reasons),
        code="design-cannot",
    )
