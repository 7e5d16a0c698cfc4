"""Facts 1 to 17: saving by the `snapshot-save` job.

Fact 16 is about time, which only benchmarks measure; here is what of it has no clock.
"""

import pytest

from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks
from tests.support.vm import internal, overlay

FAILING_VMSTATE = {"event": "vmstate_save", "errno": 5, "once": True}


def job_events(vm, job_id, *, since=0):
    """The job's statuses and the VM's STOP and RESUME, in QEMU's order."""
    vm.qmp.drain()
    told = []
    for event in vm.events[since:]:
        if event["event"] in {"STOP", "RESUME"}:
            told.append(event["event"])
        elif event["event"] == "JOB_STATUS_CHANGE" and event["data"]["id"] == job_id:
            told.append(event["data"]["status"])
    return told


# --- fact 1 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["job-id", "tag", "vmstate", "devices"])
def test_fact_01_malformed_arguments_are_refused_at_once(target, missing):
    """A command that lacks an argument is an error reply, and no job."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    del arguments[missing]
    assert vm.refusal("snapshot-save", arguments) == f"Parameter '{missing}' is missing"
    assert vm.execute("query-jobs") == []


@pytest.mark.parametrize(
    ("devices", "error"),
    [
        (["disk0", "nowhere"], "No block device node 'nowhere'"),
        (["disk0", "raw"], "Device 'raw' is writable but does not support snapshots"),
        (["disk0", "clash"], None),
        (["clash"], "Snapshot 'taken' already exists in one or more devices"),
    ],
    ids=["missing node", "raw disk", "some have the tag", "all have the tag"],
)
def test_fact_01_all_else_is_accepted_and_fails_in_the_job(target, devices, error):
    """A save that cannot be done is answered `{}`; only the concluded job holds the error."""
    disks = (DiskSpec("disk0"), DiskSpec("raw", DiskKind.RAW), DiskSpec("clash"))
    vm = target.start(Topology(disks=disks))
    assert vm.save("taken", ["clash"]) is None
    assert vm.save("taken", devices) == error


def test_fact_01_job_stays_until_it_is_dismissed(target):
    """A concluded job holds its id until job-dismiss."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    assert vm.execute("snapshot-save", arguments) == {}
    vm.wait_event("JOB_STATUS_CHANGE", lambda data: data["status"] == "concluded")
    assert vm.job("save")["status"] == "concluded"
    assert vm.refusal("snapshot-save", arguments) == "Job ID 'save' already in use"
    vm.execute("job-dismiss", id="save")
    assert vm.execute("query-jobs") == []
    assert vm.run_job("snapshot-save", tag="b", devices=["disk0"], job_id="save") is None


# --- fact 2 -------------------------------------------------------------------------------------


def test_fact_02_nothing_is_answered_in_the_middle_of_a_save(target):
    """However often it is asked, QMP never shows the run state `save-vm`."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    vm.qmp.send("snapshot-save", arguments)
    asked = [vm.qmp.send("query-status") for _ in range(40)]
    seen = {vm.qmp.reply_to(command_id)["status"] for command_id in asked}
    assert seen == {"running"}
    assert vm.finish_job("save") is None


def test_fact_02_concluded_job_cannot_be_cancelled(target):
    """There is no moment in which a save could be called back."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    vm.execute("snapshot-save", arguments)
    vm.wait_event("JOB_STATUS_CHANGE", lambda data: data["status"] == "concluded")
    words = vm.refusal("job-cancel", id="save")
    assert words == "Job 'save' in state 'concluded' cannot accept command verb 'cancel'"


# --- fact 3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_id", ["", "1", "-a", "_a", "a b", "a/b", "a:b", "ä"])
def test_fact_03_job_id_of_other_characters_is_refused(target, job_id):
    """A job id that is not a letter and then `[A-Za-z0-9._-]` is refused at once."""
    vm = target.start(two_disks())
    arguments = {"job-id": job_id, "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    assert vm.refusal("snapshot-save", arguments) == f"Invalid job ID '{job_id}'"


def test_fact_03_job_id_of_a_letter_and_the_rest_is_accepted(target):
    """All of `[A-Za-z0-9._-]` may follow the letter."""
    vm = target.start(two_disks())
    assert vm.run_job("snapshot-save", tag="a", devices=["disk0"], job_id="Zz9._-") is None


# --- fact 4 -------------------------------------------------------------------------------------


def test_fact_04_events_of_a_save_from_a_running_vm(target):
    """STOP and RESUME come after running and before waiting; null comes with the dismissal."""
    vm = target.start(two_disks())
    assert vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"], job_id="save") is None
    assert job_events(vm, "save") == [
        *("created", "running", "STOP", "RESUME"),
        *("waiting", "pending", "concluded", "null"),
    ]
    assert vm.status() == "running"


def test_fact_04_events_of_a_save_from_a_stopped_vm(target):
    """No STOP, no RESUME, and it stays stopped."""
    vm = target.start(two_disks())
    vm.execute("stop")
    mark = vm.qmp.mark()
    assert vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"], job_id="save") is None
    told = job_events(vm, "save", since=mark)
    assert told == ["created", "running", "waiting", "pending", "concluded", "null"]
    assert vm.status() == "paused"


def test_fact_04_events_of_a_save_that_fails_before_the_stop(target):
    """A failure is told by aborting; found early, the guest never stops."""
    vm = target.start(two_disks(DiskKind.RAW))
    assert vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"], job_id="save")
    assert job_events(vm, "save") == ["created", "running", "aborting", "concluded", "null"]


def test_fact_04_events_of_a_save_that_fails_after_the_stop(target):
    """Found late, the guest was stopped and is resumed before aborting."""
    disks = (DiskSpec("disk0", DiskKind.FAULTY, inject_error=(FAILING_VMSTATE,)),)
    vm = target.start(Topology(disks=disks))
    assert vm.run_job("snapshot-save", tag="a", devices=["disk0"], job_id="save")
    assert job_events(vm, "save") == [
        *("created", "running", "STOP", "RESUME"),
        *("aborting", "concluded", "null"),
    ]


# --- facts 5 and 6 ------------------------------------------------------------------------------


def test_fact_05_vmstate_must_be_among_the_devices(target):
    """A vmstate node that is not in `devices` is a job error."""
    vm = target.start(two_disks())
    words = vm.save("a", ["disk1"], "disk0")
    assert words == "vmstate block device 'disk0' does not exist"


def test_fact_05_no_devices_is_a_job_error(target):
    """An empty `devices` is accepted and fails in the job."""
    vm = target.start(two_disks())
    assert vm.save("a", [], "disk0") is not None
    assert vm.tags("disk0") == []


def test_fact_05_node_listed_twice_gets_two_snapshots(target):
    """Nothing finds out that a node is named twice: it then holds the tag twice."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0", "disk1", "disk1"]) is None
    assert vm.tags("disk0") == ["a"]
    assert vm.tags("disk1") == ["a", "a"]


@pytest.mark.parametrize(
    ("kind", "node"),
    [
        (DiskKind.RAW, "disk1"),
        (DiskKind.READ_ONLY, "disk1"),
        (DiskKind.BACKED, "disk1-backing"),
    ],
    ids=lambda value: getattr(value, "value", value),
)
def test_fact_06_one_text_for_all_that_cannot_be_snapshotted(target, kind, node):
    """Raw, read-only and backing nodes are all `writable but does not support snapshots`."""
    vm = target.start(two_disks(kind))
    words = vm.save("a", ["disk0", node])
    assert words == f"Device '{node}' is writable but does not support snapshots"


# --- facts 7 to 10 ------------------------------------------------------------------------------


def test_fact_07_tag_on_some_disks_is_saved_twice(target):
    """The tag check passes unless every disk has the tag: those that have it, have it twice."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0"]) is None
    assert vm.save("a", ["disk0", "disk1"]) is None
    assert vm.tags("disk0") == ["a", "a"]
    assert vm.tags("disk1") == ["a"]
    assert vm.save("a", ["disk0", "disk1"]) is not None


def test_fact_07_failed_save_destroys_the_older_snapshot_of_the_tag(target):
    """The clean-up after a failure deletes the first of that name: the old one, not its own."""
    vm = target.start(two_disks(DiskKind.QCOW2, DiskKind.DATA_FILE))
    assert vm.save("a", ["disk0"]) is None
    (old,) = vm.snapshots("disk0")
    assert vm.save("a", ["disk0", "disk1", "disk2"]) is not None
    (left,) = vm.snapshots("disk0")
    assert left.tag == "a"
    assert left.id != old.id
    assert left.vm_clock_ns > old.vm_clock_ns


def test_fact_08_long_tag_is_cut_and_cannot_be_loaded_as_given(target):
    """255 bytes of a tag are kept; the tag that was given names nothing then."""
    vm = target.start(two_disks())
    given = "x" * 300
    assert vm.save(given, ["disk0"]) is None
    assert vm.tags("disk0") == ["x" * 255]
    assert vm.load(given, ["disk0"]) is not None
    assert vm.load("x" * 255, ["disk0"]) is None


def test_fact_08_empty_tag_passes_the_job_only(target):
    """snapshot-save takes an empty tag, a transaction does not."""
    vm = target.start(two_disks())
    assert vm.save("", ["disk0"]) is None
    assert vm.tags("disk0") == [""]
    assert vm.refused_transaction(internal("disk1", "")) == "Name is empty"


@pytest.mark.real_qemu
def test_fact_09_tag_of_digits_restores_the_snapshot_of_that_id(qemu):
    """Loading the tag `2` brings back the later snapshot `x`, whose id is 2."""
    vm = qemu.start(two_disks(guest=True))
    devices = ["disk0", "disk1"]
    vm.wait_guest(1)
    assert vm.save("2", devices) is None
    between = vm.wait_guest(5)[-1]
    assert vm.save("x", devices) is None
    assert [(s.id, s.tag) for s in vm.snapshots("disk0")] == [("1", "2"), ("2", "x")]

    vm.execute("stop")
    loaded_at = len(vm.console())
    assert vm.load("2", devices) is None
    vm.execute("cont")
    assert vm.wait_guest(1, since=loaded_at)[0] > between, "the guest is at x, not at 2"


def test_fact_10_data_file_is_noticed_only_after_the_stop(target):
    """A disk with an external data file passes the check, and fails with the guest stopped."""
    vm = target.start(two_disks(DiskKind.DATA_FILE))
    mark = vm.qmp.mark()
    words = vm.save("a", ["disk0", "disk1"])
    assert words is not None
    assert "does not support snapshots" not in words
    told = [event["event"] for event in vm.events[mark:]]
    assert "STOP" in told
    assert "RESUME" in told
    assert vm.tags("disk0") == []


# --- fact 11 ------------------------------------------------------------------------------------


def test_fact_11_job_takes_node_names_and_no_drive_ids(target):
    """QEMU's own `#blockNNN` names work in the job; `-drive` and qdev ids do not."""
    vm = target.start(two_disks(DiskKind.DRIVE))
    node = vm.node_of("disk1")
    assert node.startswith("#block")
    assert vm.save("a", ["disk0", "disk1"]) is not None
    assert vm.save("a", ["disk0", "disk0-device"]) is not None
    assert vm.save("a", ["disk0", node]) is None
    assert vm.tags(node) == ["a"]


def test_fact_11_filter_passes_to_its_child(target):
    """A filter named in the job snapshots its child; with both named it is done twice."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    assert vm.save("once", ["disk0", "disk1"]) is None
    assert vm.tags("disk1-format") == ["once"]
    assert vm.save("both", ["disk0", "disk1", "disk1-format"]) is None
    assert vm.tags("disk1-format") == ["once", "both", "both"]


def test_fact_11_internal_sync_takes_drive_ids_and_root_nodes(target):
    """A `-drive` id, its root node and a named root node all work; qdev ids do not."""
    vm = target.start(two_disks(DiskKind.DRIVE))
    vm.snapshot_disks("a", "disk0", "disk1")
    vm.snapshot_disks("b", vm.node_of("disk1"))
    assert vm.tags(vm.node_of("disk1")) == ["a", "b"]
    assert vm.refused_transaction(internal("disk0-device", "c"))


def test_fact_11_internal_sync_refuses_the_node_under_a_filter(target):
    """The child of a filter is no root node."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    words = vm.refused_transaction(internal("disk1-format", "a"))
    assert words == "Need a root block node"


# --- facts 12 to 15 -----------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_12_write_error_in_the_vmstate_leaves_no_snapshot(qemu):
    """The job fails, the guest goes on, nothing is left but leaked clusters."""
    faulty = DiskSpec("disk0", DiskKind.FAULTY, inject_error=(FAILING_VMSTATE,))
    vm = qemu.start(Topology(disks=(faulty, DiskSpec("disk1")), guest=True))
    vm.wait_guest(1)
    words = vm.save("a", ["disk0", "disk1"])
    assert words.endswith("Input/output error"), "whose words it is differs between versions"
    assert vm.status() == "running"
    assert vm.tags("disk0") == vm.tags("disk1") == []
    failed_at = len(vm.console())
    vm.wait_guest(2, since=failed_at)
    vm.end()
    assert vm.check_image("disk0")["corruptions"] == 0
    assert vm.image_tags("disk0") == vm.image_tags("disk1") == []


@pytest.mark.real_qemu
def test_fact_13_desugared_save_loads_as_one(qemu):
    """stop, the job on the vmstate node, a transaction, cont: one job loads it, and it is whole."""
    vm = qemu.start(two_disks(DiskKind.QCOW2, DiskKind.FILTERED, guest=True))
    vm.wait_guest(1)
    vm.execute("stop")
    assert vm.save("a", ["disk0"]) is None
    vm.snapshot_disks("a", "disk1", "disk2")
    vm.execute("cont")
    vm.wait_guest(3)

    vm.execute("stop")
    loaded_at = len(vm.console())
    assert vm.load("a", ["disk0", "disk1", "disk2-format"]) is None
    vm.execute("cont")
    vm.wait_guest(3, since=loaded_at)
    vm.end()
    for disk in ("disk0", "disk1", "disk2"):
        assert vm.image_tags(disk) == ["a"]
        assert vm.check_image(disk) == {"corruptions": 0, "leaks": 0}


def test_fact_14_overlay_and_internal_snapshot_in_one_transaction(target):
    """A raw disk gets an overlay in the transaction that snapshots the others."""
    vm = target.start(two_disks(DiskKind.QCOW2, DiskKind.RAW))
    vm.add_overlay("over")
    vm.execute("stop")
    assert vm.save("a", ["disk0"]) is None
    vm.transaction(internal("disk1", "a"), overlay("disk2", "over"))
    vm.execute("cont")
    assert vm.tags("disk0") == vm.tags("disk1") == ["a"]
    assert vm.node_of("over") == "over", "the device of disk2 is on its overlay"


def test_fact_14_failing_action_takes_the_overlay_back(target):
    """A transaction that fails at its end leaves neither snapshot nor overlay."""
    vm = target.start(two_disks(DiskKind.QCOW2, DiskKind.RAW))
    vm.add_overlay("over")
    assert vm.refused_transaction(internal("disk1", "a"), overlay("disk2", "over"), ("abort", {}))
    assert vm.tags("disk1") == []
    assert vm.node_of("disk2") == "disk2"
    vm.transaction(internal("disk1", "a"), overlay("disk2", "over"))


def test_fact_15_parts_of_one_pause_have_one_vm_clock(target):
    """The clock stands while the VM is stopped, so its value tells what belongs together."""
    vm = target.start(two_disks())
    vm.execute("stop")
    assert vm.save("a", ["disk0"]) is None
    vm.snapshot_disks("a", "disk1")
    vm.execute("cont")
    assert vm.save("b", ["disk0", "disk1"]) is None
    first_a, first_b = vm.snapshots("disk0")
    second_a, second_b = vm.snapshots("disk1")
    assert first_a.vm_clock_ns == second_a.vm_clock_ns
    assert first_b.vm_clock_ns == second_b.vm_clock_ns
    assert first_a.vm_clock_ns < first_b.vm_clock_ns


def test_fact_15_vm_state_size_is_0_without_machine_state(target):
    """Only the vmstate node's part has a size."""
    vm = target.start(two_disks())
    assert vm.save("a", ["disk0", "disk1"], "disk1") is None
    assert vm.snapshots("disk0")[0].vm_state_size == 0
    assert vm.snapshots("disk1")[0].vm_state_size > 0


# --- facts 16 and 17 ----------------------------------------------------------------------------


def test_fact_16_flat_leaves_backing_chains_out(target):
    """`flat: true` names each node once, without the images under it."""
    vm = target.start(two_disks(DiskKind.BACKED))
    assert "backing-image" not in vm.nodes()["disk1"]["image"]
    deep = {node["node-name"]: node for node in vm.execute("query-named-block-nodes")}
    assert "backing-image" in deep["disk1"]["image"]


@pytest.mark.real_qemu
def test_fact_17_save_leaves_no_vmstate_in_the_active_layer(qemu):
    """After a success only the snapshot holds the vmstate: deleting it gives all of it back."""
    vm = qemu.start(two_disks())
    assert vm.save("a", ["disk0"]) is None
    assert vm.delete("a", ["disk0"]) is None
    vm.end()
    assert vm.check_image("disk0") == {"corruptions": 0, "leaks": 0}
    assert vm.allocated_bytes("disk0") < vm_state_bytes()


@pytest.mark.real_qemu
def test_fact_17_failed_save_leaves_its_vmstate_in_the_active_layer(qemu):
    """After a failure nobody discards it: it stays until the next save."""
    vm = qemu.start(two_disks(DiskKind.DATA_FILE))
    assert vm.save("a", ["disk1", "disk0"], "disk0") is not None
    assert vm.tags("disk0") == []
    vm.end()
    assert vm.check_image("disk0") == {"corruptions": 0, "leaks": 0}
    assert vm.allocated_bytes("disk0") > vm_state_bytes()


def vm_state_bytes():
    """Less than any vmstate of the usual VM, and more than an empty image's metadata."""
    return 5 * 65536
