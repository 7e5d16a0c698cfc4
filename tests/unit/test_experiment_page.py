"""An experiment's page: plots and tables of what was measured, and names of others are text."""

import csv
import io
import re

import pytest
from attrs import evolve

from planner.compare.rehearsal import Span
from planner.errors import Problem
from planner.experiment.experiment import Kind, axes_of
from planner.experiment.folder import About
from planner.experiment.page import results_page
from planner.experiment.result import (
    CaseResult,
    Crashed,
    Difference,
    Explored,
    Lockstepped,
    Measured,
    Ran,
    SequenceEnd,
    State,
    read_result,
    result_text,
)
from planner.experiment.summary import compared, in_file_order
from planner.experiment.views import contrast_summary, results_csv, results_text, results_to_plain
from tests.support.contract import conforms

HOSTILE = "</style></svg><script>document.title='x'</script><img src=//evil>$\\frac{1}{0}$"
RAN = Ran("host", "A Processor, Linux 6", 2, 0.5, 1_800_000_000.0, 1.5, "0.1.0")


def measured(pause_ms, total_ms):
    stops = (("STOP", 1000), ("RESUME", 1000 + pause_ms * 1000))
    spans = (Span("stop", 0, 900), Span(HOSTILE, 900, total_ms * 1000, paused=True))
    return Measured(
        *(pause_ms * 1000, total_ms * 1000, 900, "stop", 5, 2**70, -4096, spans, stops),
        qemu_version="7.2.22",
        file_system="ext4",
    )


def measurements(designs, disks=(1, 200), rounds=6, **settings):
    """Results whose pause is that of the design, plus the number of the round."""
    found = []
    for design, pause_ms in designs.items():
        for count in disks:
            for number in range(1, rounds + 1):
                values = {"qemu": "7.2", "memory-mib": 128, "dirty-mib-per-s": 0, "disks": count}
                values |= {**settings, "design": design}
                figures = measured(pause_ms + number, pause_ms + number + 10)
                case = f"{design}-{count}-{number}"
                found.append(CaseResult(case, values, number, State.DONE, (), figures, None, RAN))
    return tuple(found)


def about(kind, results, **more):
    axes = axes_of(kind, results[0].settings)
    vary = {axis: tuple(dict.fromkeys(each.settings[axis] for each in results)) for axis in axes}
    fields = {"name": "n", "about": "a", "kind": kind, "vary": vary, "repeat": 6, "seed": 1}
    return About(**{**fields, "cases": len(results), **more})


FAST_AND_SLOW = measurements({"monolithic": 10, "transactional": 100})


def test_a_result_is_the_same_after_its_file():
    """Numbers that no double holds, negative ones and a missing pause too."""
    for result in (
        FAST_AND_SLOW[0],
        evolve(FAST_AND_SLOW[0], measured=evolve(FAST_AND_SLOW[0].measured, pause_us=None)),
        CaseResult("a-1", {"disks": 1}, 1, State.FAILED, (Problem("case-failed", "a", "b"),)),
    ):
        assert read_result(result_text(result), "file") == result


def test_the_page_has_plots_and_loads_nothing():
    """It says which designs differ, on which machine, and needs neither network nor script."""
    text = results_page(about(Kind.MEASURE, FAST_AND_SLOW), FAST_AND_SLOW)
    assert len(re.findall(r"<svg [^>]*role=\"img\"", text)) == 4
    assert "default-src &#x27;none&#x27;" in text
    assert not re.search(r"https?://|<script|<link|<img|@import|url\((?!#)|href=\"(?!#)", text)
    assert "pause: of 2 comparisons 2 differ" in text
    assert "A Processor, Linux 6, 2 processors" in text
    assert "QEMU 7.2.22; images on ext4" in text
    assert "<metadata" not in text
    assert text == results_page(about(Kind.MEASURE, FAST_AND_SLOW), FAST_AND_SLOW)


def test_every_run_is_in_the_plots():
    """Two rounds more of two counts of disks: points in both figures, and in the run itself."""

    def points(rounds):
        alike = measurements({"live": 10}, rounds=rounds)
        same = tuple(evolve(each, measured=measured(10, 20)) for each in alike)
        return results_page(about(Kind.MEASURE, same), same).count("<use ")

    assert points(8) - points(6) == 2 * 2 * 3


def test_names_of_others_are_text_in_the_page():
    """Of an experiment, a design, a QEMU, a host, a command, an error; no markup, no mathematics."""
    results = measurements({HOSTILE: 10, "_hidden": 20, "$\\frac{$": 30}, qemu=HOSTILE)
    results = tuple(evolve(each, ran=evolve(RAN, host=HOSTILE)) for each in results)
    broken = evolve(
        results[0], case="b", state=State.FAILED, measured=None,
        problems=(Problem("case-failed", HOSTILE, "an\x1b[31m escape"),),
    )  # fmt: skip
    whole = (*results, broken)
    text = results_page(about(Kind.MEASURE, whole, name=HOSTILE, about=HOSTILE), whole)
    assert "<script" not in text
    assert "<img" not in text
    assert "\x1b" not in text
    assert text.count("<svg") == text.count("</svg>") == 4
    assert "&lt;script&gt;" in text
    assert ">$\\frac{$<" in text


def test_an_exploration_has_its_verdicts_and_one_that_is_not_finished_says_so():
    """A column a design; a case that was refused, one that failed, and one that is not there yet."""

    def case(design, faults, **more):
        values = {"faults": faults, "other-clients": False, "client-death": "never"}
        found = Explored(("atomic",) if design == "b" else (), True, 10, 20, 3)
        result = CaseResult(
            f"{design}-{faults}", {**values, "disks": 1, "design": design}, 1, State.DONE,
            explored=found, ran=RAN,
        )  # fmt: skip
        return evolve(result, **more)

    refused = {"state": State.REFUSED, "explored": None}
    why = (Problem("design-cannot", "c", "it cannot"),)
    results = (
        case("a", "none"),
        case("b", "none"),
        case("c", "none", problems=why, **refused),
        case("a", "one"),
    )
    head = about(Kind.EXPLORE, results, cases=6)
    text = results_page(head, results)
    assert "violates atomic" in text
    assert "refused: c: it cannot" in text
    assert text.count("not run yet") == 2
    assert "3 of 6 cases done, 1 refused" in text
    plain = results_to_plain(head, results)
    conforms("experiment", plain)
    assert plain["finished"] is False
    assert "design-cannot" in str(plain["cases"])


def lockstep(seed, qemu, end, *differences, **more):
    values = {"commands": "snapshots", "length": 25, "sequence-seed": seed, "qemu": qemu}
    found = Lockstepped(end, 10 * seed, differences, "7.2.22")
    result = CaseResult(f"{qemu}-{seed}-1", values, 1, State.DONE, lockstep=found, ran=RAN)
    return evolve(result, **more)


def test_sequences_are_counted_and_each_difference_is_told():
    """By QEMU; what it said, HTML or a formula, is text, and a case that was refused is told too."""
    unlike = Difference('{"execute": "stop"}', "outcome", f'"{HOSTILE}"', '"=1+1"')
    why = (Problem("qemu-version-differs", "b", "it is another one"),)
    results = (
        lockstep(1, "a", SequenceEnd.WHOLE),
        lockstep(2, "a", SequenceEnd.DIFFERS, unlike),
        lockstep(3, "a", SequenceEnd.QEMU_ENDED),
        lockstep(1, "b", SequenceEnd.NOT_MODELLED),
        lockstep(2, "b", SequenceEnd.WHOLE, state=State.REFUSED, lockstep=None, problems=why),
    )
    assert [read_result(result_text(each), "file") for each in results] == list(results)
    head = about(Kind.LOCKSTEP, results)
    conforms("experiment", results_to_plain(head, results))
    said = results_text(head, results).splitlines()
    rows = [line.split() for line in said if line.startswith("snapshots")]
    assert rows == [
        ["snapshots", "25", "a", "3", "60", "1", "0", "1"],
        ["snapshots", "25", "b", "1", "10", "0", "1", "0"],
    ]
    assert any("sequence-seed 2, qemu a" in line and "stop" in line for line in said)
    assert any(line.startswith("refused: ") and "it is another one" in line for line in said)
    rows = list(csv.DictReader(io.StringIO(results_csv(head, results))))
    assert [row["end"] for row in rows] == ["whole", "not-modelled", "differs", "", "qemu-ended"]
    assert rows[2]["real"] == f'"{HOSTILE}"'
    text = results_page(head, results)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "refused: commands snapshots" in text


def crash(point, design, killed, end, *, left=(), findings=(), **more):
    values = {"qemu": "q", "dies": "client", "disks": 2, "point": point, "design": design}
    found = Crashed(killed, end, left, findings, "7.2.22")
    result = CaseResult(f"{design}-{point}-1", values, 1, State.DONE, crash=found, ran=RAN)
    return evolve(result, **more)


def test_what_recovery_came_to_is_told_by_point_and_design():
    """What is left, and what is not whole, stands out; a case that was refused is told too."""
    why = (Problem("design-cannot", "live", "it cannot"),)
    results = (
        crash(1, "a", "before stop", "undone"),
        crash(2, "a", "after stop", "done", findings=(HOSTILE,)),
        crash(9, "a", "", "done"),
        crash(1, "b", "before stop", "incomplete", left=("disk0: a part",)),
        crash(2, "b", "", "done", state=State.REFUSED, crash=None, problems=why),
    )
    assert [read_result(result_text(each), "file") for each in results] == list(results)
    head = about(Kind.CRASH, results)
    plain = results_to_plain(head, results)
    conforms("experiment", plain)
    assert [each["crash"]["whole"] for each in plain["cases"] if each["crash"]] == [
        *(True, True, False, True)
    ]
    said = results_text(head, results)
    for words in ("undone", "done, not whole", "not reached", "incomplete, something is left"):
        assert words in said
    assert "left: qemu q, dies client, disks 2, point 1, design b, round 1: disk0: a part" in said
    assert "refused: " in said
    rows = list(csv.DictReader(io.StringIO(results_csv(head, results))))
    assert [row["whole"] for row in rows] == ["true", "true", "false", "", "true"]
    text = results_page(head, results)
    assert "<script" not in text
    assert text.count('class="no"') == 2
    assert text.count('class="yes"') == 2
    assert text.count("not run yet") == 1


def test_one_case_alone_and_none_at_all_have_a_page():
    """Whatever is there so far can be shown."""
    (first, *_) = FAST_AND_SLOW
    for results in ((), (first,), (evolve(first, measured=None, state=State.FAILED),)):
        head = about(Kind.MEASURE, FAST_AND_SLOW)
        assert f"{sum(1 for each in results if each.measured)} of 24 cases" in results_page(
            head, results
        )
        conforms("experiment", results_to_plain(head, results))
        assert results_text(head, results)
        assert results_csv(head, results).count("\n") == 1 + len(results)


def test_equal_designs_show_no_difference_and_few_runs_are_too_few():
    """The statistics are those of `compare --repeat`."""
    alike = measurements({"monolithic": 10, "transactional": 10})
    assert contrast_summary(compared(alike)).startswith(
        "pause: of 2 comparisons 2 no difference seen"
    )
    few = measurements({"monolithic": 10, "transactional": 100}, rounds=4)
    assert "2 too few runs to say" in contrast_summary(compared(few))
    plain = results_to_plain(about(Kind.MEASURE, alike), alike)
    assert {each["likeness"] for group in plain["compared"] for each in group["contrasts"]} == {
        "no-difference-seen"
    }


def test_results_stand_in_the_order_of_the_file():
    """Not by their size: whoever wrote the file has thought of an order."""
    results = measurements({"b": 1, "a": 1}, disks=(8, 1), rounds=1)
    vary = about(Kind.MEASURE, results).vary
    ordered = in_file_order(reversed(results), vary)
    assert [(each.settings["disks"], each.settings["design"]) for each in ordered] == [
        (8, "b"),
        (8, "a"),
        (1, "b"),
        (1, "a"),
    ]


@pytest.mark.parametrize("name", ["matplotlib", "matplotlib.figure"])
def test_without_the_extra_it_says_what_to_install(monkeypatch, name):
    """The core install has no matplotlib."""
    from planner.errors import Refused

    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(Refused) as caught:
        results_page(about(Kind.MEASURE, FAST_AND_SLOW), FAST_AND_SLOW)
    assert caught.value.problems[0].remedy == "pip install 'snapplan[experiments]'"
