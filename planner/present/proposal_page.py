"""A design as a page for the list: what is sent, QAPI, verdicts, counterexamples, and what a test runs.

The page is plain text that reads as Markdown, in lines of 72 characters where that can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from planner.explore.design import DesignFile
from planner.explore.instruction import SideEffect
from planner.explore.layers import Layers
from planner.explore.spelling import proposals_of
from planner.explore.trying import Trying
from planner.present.outputs import output
from planner.present.proposal_qapi import body_words, kinds_of, promises, qapi_text, wrapped
from planner.present.tables import table
from planner.present.trace_view import Explored, Found, properties_of, story_text
from planner.present.visible import as_lines, visible

__all__ = ["Judged", "page_text", "page_to_plain"]

_WIDTH = 72
_SETS = {
    "none": ("none", "nothing strikes"),
    "one": ("one", "one fault"),
    "two": ("two", "two faults"),
    "one-with-other-clients": ("others", "one fault, other QMP clients act too"),
    "one-with-client-death": ("dies", "one fault, which may be the client's death for good"),
    "one-with-client-death-recovered": ("recovered", "the same, and somebody recovers"),
}
"""By a set of faults, as design files call it: a short word, and what it is."""


@frozen
class Judged:
    """An exploration with one set of faults.

    Attributes:
        faults: The set's name, as design files have it.
        report: What was found.
        layers: The images of its states; of a load or a delete there are none.
    """

    faults: str
    report: Explored
    layers: Layers | None


def page_text(  # noqa: PLR0913 - what a page is made of
    design: DesignFile,
    judged: Sequence[Judged],
    tried: Trying,
    files: Mapping[str, str],
    made: str,
    *,
    left_out: Sequence[tuple[str, str]] = (),
) -> str:
    """The page.

    Args:
        design: The design.
        judged: Its explorations, by set of faults.
        tried: What its test tries.
        files: The names of the files beside the page: ``fragment`` and ``test``.
        made: How the page was made: the command, without its prompt.
        left_out: What of the design the request does not need: the instruction, and why.
    """
    lines = [
        *_head(design),
        *_sent(design, left_out),
        *_qapi(design, tried, files["fragment"]),
        *_verdicts(judged),
        *_stories(judged),
        *_tested(tried, files["test"]),
        "## How this was made",
        "",
        *_prose("Everything on this page is made from the design file and a model of QEMU:"),
        "",
        f"    {made}",
        "",
    ]
    return as_lines(lines) + "\n"


def _prose(text: str) -> Iterator[str]:
    return wrapped(visible(text), _WIDTH)


def _head(design: DesignFile) -> Iterator[str]:
    yield f"# {design.name}"
    yield ""
    yield from _prose(f"{design.summary}." if design.summary else design.name)
    for who in design.proposed_by:
        yield ""
        says = f': "{who.says}"' if who.says else ""
        yield from _prose(f"{who.who}, {who.where}{says}")
    yield ""


def _sent(design: DesignFile, left_out: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield "## What a client sends"
    yield ""
    for number, each in enumerate(design.instructions, start=1):
        alone = ", for each disk alone" if each.each_alone else ""
        if each.effect is SideEffect.NONE:
            what = body_words(each.does)
            said = " ".join(promises(each, frozenset(kinds_of(each.does))))
        else:
            what, said = each.effect.value.replace("-", " "), ""
        lines = list(_prose(f"{number}. `{each.name}`: {what}{alone}. {said}"))
        yield lines[0]
        yield from (f"   {line}" for line in lines[1:])
    yield ""
    for name, why in left_out:
        yield from _prose(f"Below, `{name}` is not sent: {why}.")
        yield ""


def _qapi(design: DesignFile, tried: Trying, file: str) -> Iterator[str]:
    yield f"## QAPI ({file})"
    yield ""
    yield "```"
    yield from qapi_text(design, proposals_of(tried.spelled)).splitlines()
    yield "```"
    yield ""


def _verdicts(judged: Sequence[Judged]) -> Iterator[str]:
    yield "## Verdicts"
    yield ""
    count = len(judged[0].report.setting.of_guest)
    disks = "one disk" if count == 1 else f"{count} disks"
    yield from _prose(
        f"Every run with {disks} was explored, with every order that the design "
        "leaves open, a guest that writes whenever it runs, and"
    )
    yield ""
    for each in judged:
        report = each.report
        searched = f"{report.states} states" + ("" if report.finished else ", not all")
        yield f"- {': '.join(_SETS[each.faults])} ({searched})"
    yield ""
    yield "```"
    rows = [("PROPERTY", *(_SETS[each.faults][0].upper() for each in judged))]
    for wanted in properties_of(judged[0].report):
        cells = ("VIOLATED" if wanted.id in each.report.violated else "holds" for each in judged)
        rows.append((wanted.id, *cells))
    yield from table(rows).splitlines()
    yield "```"
    yield ""


def _stories(judged: Sequence[Judged]) -> Iterator[str]:
    found = _first_violations(judged)
    yield "## Counterexamples"
    yield ""
    if not found:
        yield "None: no property is violated in any run."
        yield ""
    for each, violation in found.values():
        yield f"### {violation.property_id} ({_SETS[each.faults][1]})"
        yield ""
        yield "```"
        yield from (str(line) for line in story_text(each.report, each.layers, violation))
        yield "```"
        yield ""


def _first_violations(judged: Sequence[Judged]) -> dict[str, tuple[Judged, Found]]:
    """Each property that is violated, with the smallest set of faults that does it."""
    found: dict[str, tuple[Judged, Found]] = {}
    for each in judged:
        for violation in each.report.violations:
            found.setdefault(violation.property_id, (each, violation))
    return found


def _tested(tried: Trying, file: str) -> Iterator[str]:
    yield f"## The test ({file})"
    yield ""
    yield from _prose(
        "For QEMU's tests/qemu-iotests/tests. What each run must leave is what the model says; a QEMU "
        "that lacks a command or an action skips them and says so."
    )
    yield ""
    for run in tried.runs:
        yield f"- test_{run.name}"
    for what in dict.fromkeys(f"{each.what}: {each.why}" for each in tried.left_out):
        lines = list(_prose(f"- not tried: {what}"))
        yield lines[0]
        yield from (f"  {line}" for line in lines[1:])
    yield ""


def page_to_plain(
    design: DesignFile, judged: Sequence[Judged], tried: Trying, files: Mapping[str, str]
) -> dict[str, object]:
    """What was written, and the verdicts, as plain values."""
    return output(
        "design",
        {
            "design": design.name,
            "file": files["page"],
            "fragment": files["fragment"],
            "test": files["test"],
            "violated": {each.faults: list(each.report.violated) for each in judged},
            "tried": [run.name for run in tried.runs],
            "not-tried": [{"what": each.what, "why": each.why} for each in tried.left_out],
        },
    )
