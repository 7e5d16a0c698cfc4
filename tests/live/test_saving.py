"""Snapshots of a real QEMU under a guest that checks itself: saved, shown, loaded, and right."""

import json
import stat

import pytest

from tests.live.runs import as_json, held, image_node, request_text, run_library, snapplan
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

DESIGNS = ["monolithic", "transactional"]
KINDS = {
    "qcow2": (DiskKind.QCOW2, DiskKind.QCOW2),
    "filtered": (DiskKind.QCOW2, DiskKind.FILTERED),
    "drive": (DiskKind.DRIVE, DiskKind.DRIVE),
    "vmstate-on-drive": (DiskKind.DRIVE, DiskKind.QCOW2),
    "backed": (DiskKind.QCOW2, DiskKind.BACKED),
}


def start(qemu, kinds, **more):
    disks = [DiskSpec(f"disk{number}", kind) for number, kind in enumerate(kinds)]
    disks.append(DiskSpec("vars0", DiskKind.RAW))
    saved = tuple(disk.name for disk in disks[:-1])
    return qemu.start(Topology(tuple(disks), guest=True, guest_disks=saved, **more))


def heartbeat_after(vm):
    """A counter that the guest printed after now, and so after whatever was saved before."""
    return vm.wait_guest(2, since=len(vm.console()))[-1]


def load_and_check(vm, tag, disks, before, later, *, vmstate="disk0"):
    """Load over all parts; the guest goes on from the save and finds nothing wrong."""
    vm.execute("stop")
    loaded_at = len(vm.console())
    nodes = [image_node(vm, disk) for disk in disks]
    assert vm.load(tag, nodes, image_node(vm, vmstate)) is None
    vm.execute("cont")
    again = vm.wait_guest(3, since=loaded_at)
    assert before <= again[0] <= later, "it went back to the save, no further and no less"


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("kinds", KINDS)
def test_a_busy_guest_is_saved_and_loads_as_it_was(qemu, design, kinds):
    """Saved while it writes, loaded by QEMU alone, the guest finds no sector ahead or behind."""
    vm = start(qemu, KINDS[kinds])
    disks = ["disk0", "disk1"]
    before = vm.wait_guest(2)[-1]
    done = snapplan(
        "apply", "-", "--vm", vm.qmp_path, "--design", design, "--json",
        text=request_text("good", disks, "disk0"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = as_json(done)
    assert len(told["parts"]) == len(disks)
    assert len({part["vm-clock-ns"] for part in told["parts"]}) == 1
    assert [part["disk"] for part in told["parts"] if part["vm-state-size"] != "0"] == ["disk0"]
    assert vm.status() == "running"
    later = heartbeat_after(vm)
    assert held(vm, disks) == {"disk0": ["good"], "disk1": ["good"]}
    assert vm.execute("query-jobs") == []
    load_and_check(vm, "good", disks, before, later)
    vm.end()
    for disk in disks:
        assert vm.image_tags(disk) == ["good"]
        check = vm.check_image(disk)
        assert not check.get("corruptions")
        assert not check.get("leaks")


@pytest.mark.parametrize("design", DESIGNS)
def test_a_paused_vm_stays_paused(qemu, design):
    """Saved from a paused VM, no STOP or RESUME happens, and it loads."""
    vm = start(qemu, KINDS["qcow2"])
    before = vm.wait_guest(2)[-1]
    vm.execute("stop")
    mark = len(vm.events)
    _, outcome = run_library(vm, request_text("good", ["disk0", "disk1"], "disk1"), design)
    assert outcome.failure is None
    assert vm.status() == "paused"
    assert not {event["event"] for event in vm.events[mark:]} & {"STOP", "RESUME"}
    vm.execute("cont")
    later = heartbeat_after(vm)
    load_and_check(vm, "good", ["disk0", "disk1"], before, later, vmstate="disk1")


@pytest.mark.parametrize(("paused", "after"), [(False, "paused"), (True, "running")])
def test_the_run_state_is_what_the_request_says(qemu, paused, after):
    """`run-state-after` is kept; only the transactional design can, and `auto` says so."""
    vm = start(qemu, KINDS["qcow2"])
    vm.wait_guest(1)
    if paused:
        vm.execute("stop")
    text = request_text("good", ["disk0", "disk1"], "disk0", run_state_after=after)
    plan, outcome = run_library(vm, text)
    assert outcome.failure is None
    assert plan.program.design == "transactional"
    assert [problem.subject for problem in plan.program.not_chosen] == ["run-state-after"]
    assert vm.status() == after


def test_disks_only_without_a_pause(qemu):
    """Without machine state the guest is never paused, and the images revert to one cut."""
    vm = start(qemu, KINDS["qcow2"])
    vm.wait_guest(2)
    mark = len(vm.events)
    plan, outcome = run_library(vm, request_text("cut", ["disk0", "disk1"]))
    assert outcome.failure is None
    assert [step.execute for step in plan.program.steps] == ["transaction"]
    assert not {event["event"] for event in vm.events[mark:]} & {"STOP", "RESUME"}
    vm.wait_guest(4)
    vm.end()
    counters = [vm.counter_in_image(disk, "cut") for disk in ("disk0", "disk1")]
    assert counters[0] - counters[1] in (0, 1), "the guest writes disk0 first: one step at most"


@pytest.mark.sample(1)
@pytest.mark.parametrize("design", DESIGNS)
def test_an_existing_tag_is_replaced_on_request_only(qemu, design):
    """Refused by default and without a word for it; with `replace` and --yes the new one is there."""
    vm = start(qemu, KINDS["qcow2"])
    disks = ["disk0", "disk1"]
    vm.wait_guest(1)
    refused = request_text("again", disks, "disk0")
    replace = request_text("again", disks, "disk0", existing_tag="replace")
    apply = ("apply", "-", "--vm", vm.qmp_path, "--design", design, "--json")
    first = as_json(snapplan(*apply, text=refused))
    assert snapplan(*apply, text=refused).returncode == 10
    unasked = snapplan(*apply, text=replace)
    assert (unasked.returncode, as_json(unasked)["error"]["code"]) == (2, "confirmation-missing")
    before = vm.wait_guest(3)[-1]
    replaced = snapplan(*apply, "--yes", text=replace)
    assert replaced.returncode == 0, replaced.stderr
    second = as_json(replaced)
    later = heartbeat_after(vm)
    assert held(vm, disks) == {"disk0": ["again"], "disk1": ["again"]}
    first_ns, second_ns = (int(each["parts"][0]["vm-clock-ns"]) for each in (first, second))
    assert second_ns > first_ns
    load_and_check(vm, "again", disks, before, later)


def test_a_plan_made_earlier_runs_and_runs_only_on_its_vm(qemu, tmp_path):
    """A plan file holds no automatic name, works once, and is refused (11) once the tag is there."""
    vm = start(qemu, KINDS["drive"])
    vm.wait_guest(1)
    plan, facts = tmp_path / "plan.json", tmp_path / "facts.json"
    request = request_text("planned", ["disk0", "disk1"], "disk1")
    assert snapplan("inspect", "--vm", vm.qmp_path, "--facts-out", facts).returncode == 0
    made = snapplan("plan", "-", "--facts", facts, "-o", plan, text=request)
    assert made.returncode == 0, made.stderr
    assert "#block" not in plan.read_text() + facts.read_text()
    assert stat.S_IMODE(plan.stat().st_mode) == 0o600
    assert snapplan("apply", plan, "--vm", vm.qmp_path).returncode == 0
    again = snapplan("apply", plan, "--vm", vm.qmp_path, "--json")
    assert again.returncode == 11
    codes = {problem["code"] for problem in as_json(again)["error"]["problems"]}
    assert codes == {"tag-taken"}
    assert held(vm, ["disk0", "disk1"]) == {"disk0": ["planned"], "disk1": ["planned"]}


def test_a_vm_that_got_another_disk_refuses_the_old_plan(qemu, tmp_path):
    """A disk plugged in after the plan was made ends in exit 11, and nothing is saved."""
    vm = start(qemu, KINDS["qcow2"])
    vm.wait_guest(1)
    plan = tmp_path / "plan.json"
    request = request_text("planned", ["disk0", "disk1"], "disk0")
    assert snapplan("plan", "-", "--vm", vm.qmp_path, "-o", plan, text=request).returncode == 0
    vm.add_node("late")
    refused = snapplan("apply", plan, "--vm", vm.qmp_path, "--json")
    assert refused.returncode == 11, refused.stderr
    subjects = {problem["subject"] for problem in as_json(refused)["error"]["problems"]}
    assert "disk late" in subjects
    assert held(vm, ["disk0", "disk1"]) == {"disk0": [], "disk1": []}


def test_a_plan_file_that_was_tampered_with_is_refused(qemu):
    """A plan whose steps were put in another order breaks a rule: exit 30, and nothing is sent."""
    vm = start(qemu, KINDS["qcow2"])
    vm.wait_guest(1)
    request = request_text("torn", ["disk0", "disk1"], "disk0")
    made = snapplan(
        "plan", "-", "--vm", vm.qmp_path, "--design", "transactional", "-o", "-", text=request
    )
    plan = json.loads(made.stdout)
    steps = plan["program"]["steps"]
    steps[2], steps[3] = steps[3], steps[2]  # resume before the other disks are captured
    refused = snapplan("apply", "-", "--vm", vm.qmp_path, "--json", text=json.dumps(plan))
    assert refused.returncode == 30
    assert "one-instant" in {p["code"] for p in as_json(refused)["error"]["problems"]}
    assert held(vm, ["disk0", "disk1"]) == {"disk0": [], "disk1": []}
    assert vm.status() == "running"


def test_the_drafted_request_works_as_it_is(qemu):
    """`inspect --request` drafts a request that `apply` takes."""
    vm = start(qemu, KINDS["qcow2"])
    vm.wait_guest(1)
    draft = snapplan("inspect", "--vm", vm.qmp_path, "--request", "--tag", "drafted").stdout
    assert f'vars0: {{external: "{vm.directory}/vars0.drafted.qcow2"}}  # a raw image' in draft
    done = snapplan("apply", "-", "--vm", vm.qmp_path, text=draft)
    assert done.returncode == 0, done.stderr
    assert "is complete" in done.stdout
    assert "drafted  (complete, one instant, " in snapplan("list", "--vm", vm.qmp_path).stdout
