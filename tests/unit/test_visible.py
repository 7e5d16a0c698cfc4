"""What others named is shown, and nothing obeys it."""

import io
import json

import pytest
import yaml
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from planner.cli.guarded import Guarded, unguarded
from planner.collect.unneeded import find_orphans
from planner.delete.delete_checks import Overlays, plan_delete
from planner.errors import Problem, Refused
from planner.parts.holdings import holdings
from planner.present.delete_view import delete_text, intent_text
from planner.present.gc_view import orphans_text
from planner.present.graph_view import dot, mermaid
from planner.present.holdings_view import holdings_text, holdings_to_plain
from planner.present.plan_view import plan_text
from planner.present.tables import table
from planner.present.verdict_view import Verdict, verdict_text
from planner.present.visible import Lines, as_lines, guard, visible
from planner.present.vm_view import draft_request, inspect_text
from planner.present.words import error_text
from tests.unit.build import facts, held, plan, qcow2, raw, whole
from tests.unit.snapshots import images, manifest, vm

HOSTILE = "x\x1b]0;PWNED\x07\x9b2J\r\nnightly  (complete)\u2028\u202egp.\u2066\x7f\ud800"
UNSAFE = {*map(chr, range(32)), *map(chr, range(127, 160)), *"\u2028\u202e\u2066\ud800"}


def test_what_is_not_printable_is_escaped_as_json_does_it():
    """And what is printable stays, a backslash too."""
    assert visible("käse→日本 \\n") == "käse→日本 \\n"
    assert visible("a\x1b\n\r\t\x9b\u202e\U000e0001") == (
        "a\\u001b\\n\\r\\t\\u009b\\u202e\\udb40\\udc01"
    )
    assert not UNSAFE & set(visible(HOSTILE))


def test_only_lines_that_were_made_here_are_lines():
    """A line break in a name is shown; a table is several lines."""
    rows = table([("A", "B"), ("x\ny", "1"), ("z", "2\n3")])
    assert rows.splitlines() == ["A     B", "x\\ny  1", "z     2\\n3"]
    made = as_lines(["one\ntwo", rows])
    assert isinstance(made, Lines)
    assert made == f"one\\ntwo\n{rows}"
    assert as_lines([made, "three"]).count("\n") == 4


@given(st.text(), st.booleans())
def test_the_guard_keeps_json_what_it_is(text, ascii_only):
    """It escapes as JSON does, so what a program reads is what was written."""
    written = json.dumps({"name": text}, indent=2, ensure_ascii=False)
    shown = guard(written, ascii_only=ascii_only)
    assert json.loads(shown) == {"name": text}
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert shown.isascii() or not ascii_only


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "koi8-r", "utf-16"])
def test_every_stream_takes_every_name(encoding):
    """In ASCII where the encoding is not UTF-8; nothing raises."""
    raw_bytes = io.BytesIO()
    stream = Guarded(raw_bytes, encoding, line_buffering=False)
    stream.write(f"{HOSTILE} käse→日本\n")
    stream.flush()
    shown = raw_bytes.getvalue().decode(stream.encoding)
    assert not (UNSAFE - {"\n"}) & set(shown)
    assert shown.isascii() == (encoding != "utf-8")


def test_the_progress_line_has_its_own_way_in():
    """In the order in which it was written."""
    raw_bytes = io.BytesIO()
    stream = Guarded(raw_bytes, "utf-8", line_buffering=True)
    stream.write("one\n")
    unguarded(stream).write("\x1b[2K")
    stream.write("\x1b\n")
    assert raw_bytes.getvalue() == b"one\n\x1b[2K\\u001b\n"


def named(name):
    """A VM whose disks, files and snapshots are named so."""
    return facts(
        qcow2(f"a{name}", filename=f"/vm/{name}", snapshots=(held(f"t{name}"),)),
        raw(f"b{name}"),
        blocked_reasons=(f"QEMU says {name}",),
    )


def record(of, name):
    disks = [disk for disk in of.disks if disk.snapshots]
    (part,) = [
        evolve(
            manifest(vm()).parts[0],
            disk=disk.name,
            file=disk.filename,
            snapshot_id=disk.snapshots[0].id,
            vm_clock_ns=disk.snapshots[0].vm_clock_ns,
        )
        for disk in disks
    ]
    return manifest(of=vm(), tag=f"t{name}", parts=(part,))


def shown(name):
    """All texts about it."""
    of = named(name)
    recorded = record(of, name)
    problem = Problem("code", f"subject {name}", f"message {name}", f"remedy {name}")
    order = plan_delete(recorded, of, images(of), (), Overlays.KEEP)
    gone = evolve(recorded, tag="other", parts=(evolve(recorded.parts[0], snapshot_id="99"),))
    return {
        "list": holdings_text(holdings((recorded,), of, findings={recorded.tag: [problem]}), [problem]),
        "gone": holdings_text(holdings((gone,), of)),
        "inspect": inspect_text(of),
        "draft": draft_request(of, "t"),
        "verify": verdict_text(Verdict(recorded, (problem,), (name,))),
        "gc": orphans_text(find_orphans([gone], images(of), {}, of), removed=False),
        "delete": delete_text(order),
        "question": as_lines([intent_text(order)]),
        "error": error_text(Refused(f"what {name}", problems=(problem,), vm_state=f"state {name}")),
    }  # fmt: skip


def test_no_text_has_a_line_or_a_character_more_for_a_name():
    """As many lines as with a plain name, in every view, and none that a terminal would obey."""
    plain, hostile = shown("plain"), shown(HOSTILE)
    for view, text in hostile.items():
        assert text.count("\n") == plain[view].count("\n"), view
        assert not (UNSAFE - {"\n"}) & set(text), view


def test_a_plan_and_its_pictures_have_none_either():
    """The names of its disks are checked when a request is read; those of files are not."""

    def all_of(name):
        of = facts(qcow2("a", filename=f"/vm/{name}", qdev=name), raw("b"), machine=name)
        made = plan("transactional", of, whole("a", others="exclude"))
        return [plan_text(made), mermaid(made), dot(made)]

    for plain, hostile in zip(all_of("plain"), all_of("n\x1b\n\u202e"), strict=True):
        assert hostile.count("\n") == plain.count("\n")
        assert not (UNSAFE - {"\n"}) & set(hostile)


def test_a_drafted_request_means_the_disks_whatever_they_are_called():
    """Nor can the reason beside a disk add a line to the request."""
    name = "a\nb: internal"
    drafted = yaml.safe_load(draft_request(facts(qcow2(name), raw(f"r{name}")), "t"))
    assert set(drafted["disks"]) == {name, f"r{name}"}
    assert drafted["disks"][name] == "internal"
    assert set(drafted) == set(yaml.safe_load(draft_request(facts(qcow2("a"), raw("b")), "t")))


def test_json_has_the_name_as_it_is():
    """A program gets what QEMU said."""
    (entry,) = holdings_to_plain(holdings((), named(HOSTILE)))["snapshots"]
    assert entry["tag"] == f"t{HOSTILE}"
