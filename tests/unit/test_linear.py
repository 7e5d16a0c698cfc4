"""Ten times the disks are ten times the work, whatever is asked for: no clock, bytecodes are counted."""

import sys
import threading

import pytest

from planner.compile.plan import check_unchanged, compile_request
from planner.compile.plan_text import plan_to_text, read_plan
from planner.errors import SnapplanError
from planner.model.facts import ChainNode
from planner.present.graph_view import dot
from planner.present.plan_view import plan_text
from planner.present.vm_view import draft_request
from tests.unit.build import facts, filtered, held, qcow2, raw, request, streamed, whole

FEW, TIMES = 20, 10
AT_MOST = 10.5

NEW = "10.0"


def names(count):
    return [f"disk{number}" for number in range(count)]


def vm(count, make=qcow2, **more):
    return facts(*(make(name, **more) for name in names(count)), version=NEW)


def overlays(count, folder="/new", **more):
    disks = {name: {"external": f"{folder}/{name}.qcow2"} for name in names(count)}
    return request("t", disks=disks, **more)


def deep(name):
    """A disk with nodes below it."""
    layers = tuple(ChainNode(f"{name}-base{n}", "qcow2", f"/vm/{name}-{n}") for n in range(3))
    return qcow2(name, backing=layers, below=(f"{name}-file",))


def internals(wanted):
    return request("t", disks=dict.fromkeys(wanted, "internal"))


CASES = {
    "monolithic": (lambda n: whole(*names(n)), vm, "monolithic"),
    "transactional, filters": (
        lambda n: whole(*names(n)), lambda n: vm(n, filtered), "transactional",
    ),
    "others": (lambda _: whole("disk0", others="internal"), vm, "auto"),
    "left out": (lambda _: request("t", disks={"disk0": "internal"}, others="exclude"), vm, "auto"),
    "replaced": (
        lambda n: whole(*names(n), existing_tag="replace"),
        lambda n: vm(n, snapshots=(held("t"),)),
        "transactional",
    ),
    "overlays alone": (overlays, vm, "auto"),
    "overlays frozen": (
        lambda n: overlays(n, freeze_filesystems={"agent": "/ga", "at-most": 60}), vm, "auto",
    ),
    **{
        f"{capture}, overlays": (
            lambda n, capture=capture: streamed(capture, overlays=names(n)),
            lambda n: vm(n, deep),
            "auto",
        )
        for capture in ("stopped", "live", "background")
    },
    "refused: unknown": (
        lambda n: internals([f"nothing{number}" for number in range(n)]), vm, "auto",
    ),
    "refused: below": (
        lambda n: internals([f"{name}-base2" for name in names(n)]),
        lambda n: vm(n, deep),
        "auto",
    ),
    "refused: raw": (lambda n: whole(*names(n)), lambda n: vm(n, raw), "auto"),
    "refused: taken": (
        lambda n: whole(*names(n)), lambda n: vm(n, snapshots=(held("t"),)), "auto",
    ),
    "refused: images": (lambda n: overlays(n, folder="/vm"), vm, "auto"),
    "refused: not mentioned": (lambda _: whole("disk0"), vm, "auto"),
}  # fmt: skip


def bytecodes(work):
    """How many a call runs, comprehensions and generators included; what it imports is loaded before."""
    work()
    count = 0

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    def run():
        sys.settrace(trace)  # of this thread alone: that of coverage goes on elsewhere
        work()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return count


def compiled(name, count):
    """What compiles a case, and is told how it ended."""
    make_request, make_facts, design = CASES[name]
    read, the_facts = make_request(count), make_facts(count)
    ends = []

    def work():
        try:
            ends.append(compile_request(read, the_facts, design))
        except SnapplanError as error:
            ends.append(error)

    return work, ends


@pytest.mark.parametrize("name", CASES)
def test_compiling_is_linear_in_the_disks(name):
    """Every design and every refusal that can meet all disks."""
    (few, few_end), (many, many_end) = compiled(name, FEW), compiled(name, FEW * TIMES)
    ratio = bytecodes(many) / bytecodes(few)
    assert isinstance(many_end[0], SnapplanError) is name.startswith("refused")
    if isinstance(many_end[0], SnapplanError):
        assert len(many_end[0].problems) >= FEW * TIMES - 1
    assert type(few_end[0]) is type(many_end[0])
    assert ratio < AT_MOST


@pytest.mark.parametrize(
    "name", ["monolithic", "left out", "replaced", "overlays frozen", "background, overlays"]
)
def test_what_is_done_with_a_plan_is_linear_too(name):
    """Written, read back, compared with the VM, shown."""
    counts = []
    for count in (FEW, FEW * TIMES):
        work, ends = compiled(name, count)
        work()
        plan, the_facts = ends[0], CASES[name][1](count)
        text = plan_to_text(plan)
        jobs = (
            lambda plan=plan: plan_to_text(plan),
            lambda text=text: read_plan(text),
            lambda plan=plan, the_facts=the_facts: check_unchanged(plan, the_facts),
            lambda plan=plan: plan_text(plan),
            lambda plan=plan: dot(plan),
            lambda the_facts=the_facts: draft_request(the_facts, "t"),
        )
        counts.append([bytecodes(job) for job in jobs])
    ratios = [many / few for few, many in zip(*counts, strict=True)]
    assert max(ratios) < AT_MOST, ratios
