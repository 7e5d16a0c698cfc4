"""Requests against VMs: each refusal by its code, all together, and every choice with its reason."""

import pytest
from attrs import evolve

from planner.compile.plan import check_unchanged, expectations
from planner.compile.resolve import resolve
from planner.errors import BadInput, Refused, VmChanged
from planner.model.facts import Bitmap, ChainNode, Disk, JobInfo, QemuVersion
from planner.model.request import RunStateAfter
from tests.unit.build import (
    codes,
    drive,
    facts,
    filtered,
    held,
    plan,
    qcow2,
    raw,
    request,
    two_disks,
    whole,
)

D = "disk0"
ONE = whole(D)


def disks_only(*names, **more):
    return request("t", "none", dict.fromkeys(names, "internal"), **more)


REFUSALS = {
    "an unknown disk": (facts(qcow2(D)), disks_only(D, "nothing"), {("disk-unknown", "nothing")}),
    "an unknown vmstate disk": (
        facts(qcow2(D)), whole(D, vmstate="nothing"), {("vmstate-disk-unknown", "nothing")},
    ),
    "vmstate on an excluded disk": (
        two_disks(),
        request("t", {"internal": "disk1"}, {D: "internal", "disk1": "exclude"}),
        {("vmstate-not-internal", "disk1")},
    ),
    "vmstate on a disk left out by default": (
        two_disks(),
        request("t", {"internal": "disk1"}, {D: "internal"}, others="exclude"),
        {("vmstate-not-internal", "disk1")},
    ),
    "vmstate on a disk that is to be external": (
        two_disks(),
        request("t", {"internal": "disk1"}, {D: "internal", "disk1": {"external": "/o"}}),
        {("vmstate-not-internal", "disk1")},
    ),
    "raw": (facts(raw(D)), ONE, {("format-without-snapshots", D)}),
    "read-only": (facts(qcow2(D, read_only=True)), ONE, {("disk-read-only", D)}),
    "read-only raw: both reasons": (
        facts(raw(D, read_only=True)), ONE,
        {("format-without-snapshots", D), ("disk-read-only", D)},
    ),
    "data file": (facts(qcow2(D, data_file=True)), ONE, {("external-data-file", D)}),
    "inactive": (facts(qcow2(D, active=False)), ONE, {("node-inactive", D)}),
    "busy": (facts(qcow2(D, users=("mirror0",))), ONE, {("disk-busy", D)}),
    "busy, to be external": (
        facts(qcow2(D), raw("disk1", users=("mirror0",))),
        request("t", "none", {D: "internal", "disk1": {"external": "/o"}}),
        {("disk-busy", "disk1")},
    ),
    "a disk that is not mentioned": (two_disks(), ONE, {("disk-not-mentioned", "disk1")}),
    "raw by `others: internal`": (
        facts(qcow2(D), raw("disk1")), whole(D, others="internal"),
        {("format-without-snapshots", "disk1")},
    ),
    "a tag that the one disk has": (
        facts(qcow2(D, snapshots=(held("t"),))), ONE, {("tag-taken", D)},
    ),
    "a tag that only some have": (
        facts(qcow2(D), qcow2("disk1", snapshots=(held("x"), held("t", "2")))),
        whole(D, "disk1"),
        {("tag-taken", "disk1")},
    ),
    "a tag that all have": (
        facts(*(qcow2(name, snapshots=(held("t"),)) for name in (D, "disk1"))),
        whole(D, "disk1"),
        {("tag-taken", D), ("tag-taken", "disk1")},
    ),
    "a filter and its child": (
        facts(filtered(D)), disks_only(D, f"{D}-filter"), {("filter-and-child", D)},
    ),
    "node and qdev id": (facts(qcow2(D)), disks_only(D, "disk0-device"), {("disk-named-twice", D)}),
    "-drive id and qdev path": (
        facts(drive(D)), disks_only(D, "/machine/unattached/x"), {("disk-named-twice", D)},
    ),
    "a backing file": (
        facts(qcow2(D, backing=(ChainNode("base", "qcow2"),))), disks_only(D, "base"),
        {("node-below-disk", "base")},
    ),
    "a protocol node": (
        facts(qcow2(D, below=("file0",))), disks_only(D, "file0"), {("node-below-disk", "file0")},
    ),
    "an automatic name": (facts(drive(D)), disks_only(D, "#block123"), {
        ("disk-unknown", "#block123"),
    }),
    "a reference": (facts(drive(D)), disks_only(D, "@disk0"), {("disk-unknown", "@disk0")}),
    "a name of two disks": (
        facts(qcow2(D, qdev="x"), qcow2("disk1", qdev="x")),
        disks_only(D, "disk1", "x"),
        {("disk-ambiguous", "x")},
    ),
    "one file for two external parts": (
        facts(raw(D), raw("disk1")),
        request("t", "none", {D: {"external": "/o"}, "disk1": {"external": "/o"}}),
        {("path-used-twice", "disk1")},
    ),
    "one file by two spellings": (
        facts(raw(D), raw("disk1")),
        request("t", "none", {D: {"external": "/a/o"}, "disk1": {"copy": "/a/.//o"}}),
        {("path-used-twice", "disk1")},
    ),
    "another one's temporary file": (
        facts(raw(D), raw("disk1")),
        request("t", "none", {D: {"external": "/a/o"}, "disk1": {"copy": "/a/.o.snapplan"}}),
        {("path-used-twice", "disk1")},
    ),
    "one file for a disk and the machine state": (
        facts(raw(D)),
        request("t", {"external": "/o", "capture": "live"}, {D: {"external": "/o"}}),
        {("path-used-twice", "machine-state")},
    ),
    "nothing": (facts(qcow2(D)), request("t", "none", {D: "exclude"}), {
        ("nothing-to-snapshot", "disks"),
    }),
    "no disks at all": (facts(), request("t", "none", {}), {("nothing-to-snapshot", "disks")}),
    "a migration": (facts(qcow2(D), migration="active"), ONE, {("migration-active", "vm")}),
    "a snapshot job": (
        facts(qcow2(D), jobs=(JobInfo("j", "snapshot-delete", "running"),)), ONE,
        {("snapshot-job-active", "vm")},
    ),
    "migration blockers": (
        facts(qcow2(D), blocked_reasons=("vfio", "9p")), ONE, {("migration-blocked", "vm")},
    ),
    "a blocker, and machine state to a file": (
        facts(raw(D), blocked_reasons=("vfio",)),
        request("t", {"external": "/s", "capture": "stopped"}, {D: {"external": "/o"}}),
        {("migration-blocked", "vm")},
    ),
    **{
        state: (facts(qcow2(D), run_state=state), ONE, {("run-state-unsupported", "vm")})
        for state in ("prelaunch", "suspended", "io-error", "guest-panicked", "postmigrate",
                      "inmigrate", "finish-migrate", "save-vm", "restore-vm", "shutdown", "",
                      "watchdog", "internal-error", "debug", "colo")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_each_reason_to_refuse_has_its_code_and_subject(name):
    """One thing wrong: just its problem, with what to do about it."""
    vm, asked, expected = REFUSALS[name]
    with pytest.raises(Refused) as error:
        resolve(asked, vm)
    assert {(problem.code, problem.subject) for problem in error.value.problems} == expected
    assert all(problem.message for problem in error.value.problems)
    assert error.value.exit_code == 10


FINE = {
    "filter, by its own name": (facts(filtered(D)), disks_only(f"{D}-filter")),
    "by qdev id": (facts(qcow2(D)), disks_only("disk0-device")),
    "by qdev path": (
        facts(qcow2(D, qdev="/machine/peripheral/dev0/virtio-backend")),
        disks_only("/machine/peripheral/dev0/virtio-backend"),
    ),
    "by the id in a qdev path": (
        facts(qcow2(D, qdev="/machine/peripheral/dev0/virtio-backend")), disks_only("dev0"),
    ),
    "a -drive disk": (facts(drive(D)), ONE),
    "a disk without a device, asked for": (facts(qcow2(D, qdev="")), ONE),
    "a read-only disk, not named": (facts(qcow2(D), raw("cd", read_only=True)), ONE),
    "an unattached disk, not named": (facts(qcow2(D), qcow2("spare", qdev="")), ONE),
    "a busy disk, left out": (facts(qcow2(D), qcow2("b", users=("j",))), whole(D, others="exclude")),
    "blockers, disks only": (facts(qcow2(D), blocked_reasons=("vfio",)), disks_only(D)),
    "a concluded job": (facts(qcow2(D), jobs=(JobInfo("j", "snapshot-save", "concluded"),)), ONE),
    "a migration that ended": (facts(qcow2(D), migration="completed"), ONE),
    "another tag": (facts(qcow2(D, snapshots=(held("u"),))), ONE),
    "a snapshot whose id is the tag": (facts(qcow2(D, snapshots=(held("u", "t"),))), ONE),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_is_no_reason_to_refuse(name):
    """Each looks like a refusal and is none."""
    vm, asked = FINE[name]
    resolution = resolve(asked, vm)
    assert [part.disk for part in resolution.internal] == [D]


def test_everything_is_reported_together():
    """The file's problems first, then the VM's, sorted, each once; and no plan."""
    vm = facts(
        raw(D),
        qcow2("disk1", snapshots=(held("12"),), users=("mirror0",)),
        qcow2("disk2"),
        run_state="io-error",
        migration="active",
        blocked_reasons=("vfio",),
    )
    asked = request(
        "12", {"internal": "nobody"}, {D: "internal", "disk1": "internal", "no": "maybe"}, colour=1
    )
    with pytest.raises(BadInput) as error:
        resolve(asked, vm)
    assert codes(error.value) == [
        "key-unknown", "tag-all-digits", "value-wrong",
        "disk-busy", "disk-not-mentioned", "disk-unknown", "format-without-snapshots",
        "migration-active", "migration-blocked", "run-state-unsupported", "tag-taken",
        "vmstate-disk-unknown",
    ]  # fmt: skip
    assert error.value.code == "request-malformed"
    assert "12 problems" in error.value.message


def test_every_default_is_a_choice_with_its_reason():
    """What the request left open is told, and marked as a default."""
    vm = facts(qcow2(D), qcow2("disk1"), qcow2("cd", read_only=True), qcow2("spare", qdev=""))
    resolution = resolve(whole(D, others="internal"), vm)
    told = {choice.subject: choice for choice in resolution.choices}
    assert [choice.subject for choice in resolution.choices] == sorted(told)
    assert not told[D].default
    assert (told["disk1"].value, told["disk1"].default) == ("internal", True)
    assert (told["cd"].value, told["cd"].reason) == ("exclude", "read-only")
    assert (told["spare"].value, told["spare"].default) == ("exclude", True)
    assert (told["existing-tag"].value, told["existing-tag"].default) == ("refuse", True)
    assert (told["run-state-after"].value, told["run-state-after"].default) == ("as-before", True)
    assert "others" not in told
    assert all(choice.reason for choice in resolution.choices)


def test_an_excluded_raw_disk_is_told_why_it_could_not_be_internal():
    """The reader of a UEFI guest's plan learns why its variables stay behind."""
    resolution = resolve(request("t", {"internal": D}, {D: "internal", "v": "exclude"}),
                         facts(qcow2(D), raw("v")))  # fmt: skip
    (choice,) = [choice for choice in resolution.choices if choice.subject == "v"]
    assert "internal is impossible: a raw image holds no internal snapshots" in choice.reason


def test_warnings_stop_nothing():
    """A persistent bitmap (fact 20) and an older part left out (fact 19) are told."""
    vm = facts(
        qcow2(D, bitmaps=(Bitmap("b", persistent=True), Bitmap("c"))),
        qcow2("disk1", snapshots=(held("t"),)),
    )
    bitmap, older, left_out = resolve(whole(D, others="exclude"), vm).warnings
    assert (bitmap.split()[0], "fact 20" in bitmap) == (D, True)
    assert (older.split()[0], "fact 19" in older) == ("disk1", True)
    assert left_out.startswith("left out although the guest can write to it: disk1;")


@pytest.mark.parametrize("before", ["running", "paused"])
@pytest.mark.parametrize("after", ["as-before", "running", "paused"])
def test_the_run_state_afterwards(before, after):
    """As before unless told otherwise; the resolution holds no `as-before`."""
    vm = facts(qcow2(D), run_state=before)
    resolution = resolve(whole(D, run_state_after=after), vm)
    assert resolution.run_state_before == before
    assert resolution.run_state_after == (before if after == "as-before" else after)
    assert resolution.run_state_after is not RunStateAfter.AS_BEFORE


def test_schema_that_lacks_a_command_refuses_before_anything_runs():
    """Of the program and of what a run needs beside it, each lacking command once."""
    gone = ("snapshot-save", "job-dismiss", "cont")
    vm = two_disks()
    vm = evolve(vm, schema=tuple(e for e in vm.schema if e["name"] not in gone))
    with pytest.raises(Refused) as error:
        plan("monolithic", vm)
    assert error.value.code == "qemu-lacks"
    found = [(problem.code, problem.subject) for problem in error.value.problems]
    assert found == [("command-lacking", name) for name in sorted(gone)]


# A plan against the VM of later

BASE = facts(qcow2(D), qcow2("disk1", backing=(ChainNode("base", "qcow2"),)), vm_uuid="u")
PLAN = plan("transactional", BASE)


def changed(number, **more):
    disks = list(BASE.disks)
    disks[number] = evolve(disks[number], **more)
    return evolve(BASE, disks=tuple(disks))


CHANGES = {
    "qemu": evolve(BASE, qemu=QemuVersion(8, 0, 0)),
    "machine": evolve(BASE, machine="q35"),
    "target": evolve(BASE, target="aarch64"),
    "run-state": evolve(BASE, run_state="paused"),
    "vm": evolve(BASE, vm_uuid="another"),
    "vm-name": evolve(BASE, vm_uuid="", vm_name="u2"),
    "disk disk1 gone": evolve(BASE, disks=BASE.disks[:1]),
    "disk new": evolve(BASE, disks=(*BASE.disks, Disk("new", "new", "new", "qcow2", qdev="x"))),
    "driver": changed(1, driver="raw"),
    "size": changed(1, virtual_size_bytes=1),
    "file": changed(1, filename="/vm/other"),
    "read-only": changed(1, read_only=True),
    "node": changed(1, node="other"),
    "root": changed(1, root="other"),
    "unplugged": changed(1, qdev=""),
    "inactive": changed(1, active=False),
    "data file": changed(1, data_file=True),
    "tag": changed(1, snapshots=(held("t"),)),
    "busy": changed(0, users=("mirror0",)),
    "migration": evolve(BASE, migration="active"),
    "blocked": evolve(BASE, blocked_reasons=("vfio",)),
    "job": evolve(BASE, jobs=(JobInfo("j", "snapshot-save", "running"),)),
    "schema": evolve(BASE, schema=()),
}


def test_a_vm_that_is_the_same_is_unchanged():
    """And other snapshots, other jobs and another list of live names change nothing."""
    assert check_unchanged(PLAN, BASE) == PLAN.program.resolution
    later = evolve(
        changed(0, snapshots=(held("u"),)),
        jobs=(JobInfo("b", "backup", "running"),),
        live_nodes={"@x": "#block9"},
    )
    resolution = check_unchanged(PLAN, later)
    assert resolution.internal == PLAN.program.resolution.internal


@pytest.mark.parametrize("name", CHANGES)
def test_each_difference_is_a_vm_that_changed(name):
    """What the plan took for granted and is otherwise now: exit 11, with the difference."""
    with pytest.raises(VmChanged) as error:
        check_unchanged(PLAN, CHANGES[name])
    assert error.value.problems
    assert error.value.exit_code == 11


def test_differences_say_what_was_and_what_is():
    """A disk that is gone, one that is new, and a value that differs."""
    now = evolve(BASE, machine="q35", disks=(BASE.disks[0], qcow2("disk9", qdev="")))
    with pytest.raises(VmChanged) as error:
        check_unchanged(PLAN, now)
    told = {p.subject: p.message for p in error.value.problems if p.code == "vm-changed"}
    assert told["machine"] == "it was 'pc-i440fx-7.2' and is 'q35'"
    assert told["disk disk1"].startswith("it is gone; it was: qcow2, ")
    assert told["disk disk9"].startswith("it is new: qcow2, ")


def test_snapshots_to_replace_that_differ_now_are_another_decision():
    """A plan that would delete id 3 does not run where the tag's id is 4 now."""
    vm = facts(qcow2(D, snapshots=(held("t", "3"),)))
    the_plan = plan("auto", vm, whole(D, existing_tag="replace"))
    assert check_unchanged(the_plan, vm)
    with pytest.raises(VmChanged) as error:
        check_unchanged(the_plan, facts(qcow2(D, snapshots=(held("t", "4"),))))
    assert codes(error.value) == ["resolution-differs"]


def test_expectations_hold_no_automatic_name():
    """They are written into plan files."""
    assert "#block" not in str(expectations(facts(drive(D))))
