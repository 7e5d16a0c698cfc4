"""Trees, pages and pictures: right, self-contained, and whatever strangers name is text in them."""

from xml.etree import ElementTree as ET

import pytest
from attrs import evolve

from planner.compare.comparison import compare_designs, design_names
from planner.present.compare_page import comparison_page
from planner.present.graph_svg import plan_svg
from planner.present.shown_snapshot import ShownPart, ShownSnapshot, forest
from planner.present.store_page import PageVm, store_page
from planner.present.tree_view import tree_text
from tests.support.pages import read_page
from tests.unit.build import facts, plan, qcow2, raw, request, whole

HOSTILE = (
    '</style></title><script>document.title="hacked"</script>'
    "<img src=x onerror=alert(1)>\"'&\x1b[31m\u202e"
)


def snapshot(tag, parent="", **more):
    return ShownSnapshot(tag, "complete", parent, **more)


def test_a_tree_shows_children_below_their_parents():
    """Siblings by date; the one that the VM runs on is marked."""
    found = tree_text(
        [
            (
                "toy",
                [
                    snapshot("c", "a", taken="2026-01-03"),
                    snapshot("b", "a", taken="2026-01-02"),
                    snapshot("d", "b", current=True),
                    snapshot("a"),
                    snapshot("e"),
                ],
            )
        ]
    )
    assert found.splitlines() == [
        "toy",
        "├─ a  (complete, disks only)",
        "│  ├─ b  (complete, 2026-01-02, disks only)",
        "│  │  └─ d  (complete, disks only)  <- the VM runs on this",
        "│  └─ c  (complete, 2026-01-03, disks only)",
        "└─ e  (complete, disks only)",
    ]


@pytest.mark.parametrize(
    "parents",
    [{"a": "b", "b": "a"}, {"a": "a"}, {"a": "gone"}, {"a": "c", "b": "a", "c": "b", "d": "c"}],
)
def test_each_snapshot_is_in_the_tree_once_whatever_its_parents(parents):
    """Circles, oneself and what is not there."""
    placed = forest([snapshot(tag, parent) for tag, parent in parents.items()])
    assert sorted(each.tag for _, each in placed) == sorted(parents)
    assert placed[0][0] == 0


def test_a_long_chain_is_a_tree_too():
    """A thousand, each after the other."""
    chain = [snapshot("0000"), *(snapshot(f"{n:04}", f"{n - 1:04}") for n in range(1, 1000))]
    assert [depth for depth, _ in forest(chain)] == list(range(1000))
    assert not read_page(store_page("t", [PageVm("v", (), tuple(chain))], {})).faults


def hostile_page():
    part = ShownPart("internal", HOSTILE, f"/vm/{HOSTILE}", 5 << 20, HOSTILE)
    each = ShownSnapshot(
        *(HOSTILE, "complete", "", True, HOSTILE, (HOSTILE,), HOSTILE, (part,), (HOSTILE,))
    )
    return store_page(HOSTILE, [PageVm(HOSTILE, (HOSTILE,), (each,), (), (HOSTILE,))], {})


def test_a_page_holds_what_strangers_name_as_text():
    """No element, no attribute, nothing that is loaded, and no character that a reader would not see."""
    text = hostile_page()
    page = read_page(text)
    assert page.faults == []
    assert page.policy.startswith("default-src 'none'")
    assert "<script>document.title" in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "5.0 MiB" in page.text


def test_a_page_says_what_files_take():
    """What was not seen is said, too."""
    parts = (ShownPart("external", "a", "/vm/a"), ShownPart("external", "b", "/vm/b"))
    page = read_page(
        store_page("t", [PageVm("v", (), (snapshot("s", parts=parts),))], {"/vm/a": 2048})
    )
    assert page.text.count("2.0 KiB") == page.text.count("not seen") == 1


def plans():
    return [
        plan(),
        plan(the_facts=facts(*(qcow2(f"d{n:02}") for n in range(20))),
             the_request=whole(*(f"d{n:02}" for n in range(20)), vmstate="d00")),
        plan("transactional"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(3))
def test_a_plan_is_drawn(number):
    """Each step and operation is there, inside the picture, and each rule points downwards."""
    chosen = plans()[number]
    text = plan_svg(chosen)
    root = ET.fromstring(text)  # noqa: S314 - our own output
    said = "".join(root.itertext())
    for at, step in enumerate(chosen.program.steps, start=1):
        assert f"{at}. {step.execute}" in said
        assert all(str(operation) in said for operation in step.covers)
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = [each for each in root.iter() if each.tag.endswith("rect")]
    for box in boxes:
        x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    arrows = [each.get("d") for each in root.iter() if each.get("marker-end")]
    assert arrows
    for arrow in arrows:
        begin, end = (float(each.split(",")[1]) for each in (arrow.split()[0], arrow.split()[-1]))
        assert begin < end, arrow


def test_a_comparison_is_a_page():
    """Table, picture and details; hostile names stay text."""
    vm = facts(qcow2("a"), raw("b"))
    reports = compare_designs(
        request(disks={"a": "internal", "b": "exclude"}), vm, design_names("")
    )
    reports = (evolve(reports[0], design=HOSTILE, adapted=(HOSTILE,)), *reports[1:])
    page = read_page(comparison_page(HOSTILE, reports))
    assert page.faults == []
    assert "transactional" in page.text
    assert "possible on this VM" in page.text
    assert "Commands and pause by design" in page.text
