"""Each trap is found at its line by its rule, and the right sequence beside it is clean.

A case is a sequence as one would type it, and the (line, rule) pairs that must be found: no more and
no fewer.  `USUAL` says what the VM of the facts is.
"""

import pytest
from attrs import evolve

from planner.lint import lint, read_listing
from planner.model.facts import ChainNode, Disk, Facts, JobInfo, QemuVersion, SnapshotInfo
from planner.model.hardware import Hardware
from tests.unit.lint_codes import lint_codes

SEE = "query-jobs\njob-dismiss id=j"
ALONE = 'snapshot-save job-id=j tag=t vmstate=disk0 devices=["disk0"]\n' + SEE
BOTH = 'snapshot-save job-id=j tag=t vmstate=disk0 devices=["disk0","disk1"]\n' + SEE
SNAP = "blockdev-snapshot-internal-sync device={} name=t"
TRANSACTION = "transaction(\n" + SNAP.format("disk1") + "\n)"
DELETE = "blockdev-snapshot-delete-internal-sync device={} id='1' name=old"
POLL = """{"execute": "query-migrate", "id": 1}
{"return": {"status": "active", "ram": {"normal": 0, "duplicate": 0}}, "id": 1}"""
GROUPED = (
    'transaction properties={"completion-mode":"grouped"} actions='
    '[{"type":"blockdev-snapshot-internal-sync","data":{"device":"disk0","name":"t"}}]'
)
BACKGROUND = (
    'migrate-set-capabilities capabilities=[{"capability":"background-snapshot","state":true}'
)
MIGRATE = "migrate uri=file:/s"
MULTIFD = 'migrate-set-capabilities capabilities=[{"capability":"multifd","state":'
IGNORE = 'migrate-set-capabilities capabilities=[{"capability":"x-ignore-shared","state":'
READ = "migrate-incoming uri=file:/s"
LIVE = (
    'migrate-set-capabilities capabilities=[{"capability":"pause-before-switchover","state":true}]'
)
CONTINUE = "migrate-continue state=pre-switchover"
OVERLAY = 'blockdev-add node-name=ov driver=qcow2 backing=null file={"driver":"null-co"}'.replace(
    "backing=null ", ""
)
SWITCH = "blockdev-snapshot node=disk0 overlay=ov"
SAVED = SnapshotInfo("1", "t", 5, 100)
OWN = "\n".join(
    f'{{"execute": "blockdev-add", "arguments": {{"driver": "qcow2", "node-name": "{name}", {more}'
    f'"file": {{"driver": "file", "filename": "/{name}"}}}}}}'
    for name, more in (("own", ""), ("ov", '"backing": null, '), ("ov1", '"backing": null, '))
)
STATE = 'snapshot-save job-id=j tag=t vmstate=own devices=["own"]\n' + SEE
OVERLAYS = f"transaction(\n{SWITCH}\nblockdev-snapshot node=disk1 overlay=ov1\n)"


def disk(name, **more):
    return Disk(name, name, name, "qcow2", qdev=f"/machine/peripheral/dev-{name}/x", **more)


USUAL = Facts(QemuVersion(7, 2, 22), "pc", "running", (disk("disk0"), disk("disk1")))
NEW = evolve(USUAL, qemu=QemuVersion(11, 1, 3))
ONE = evolve(NEW, disks=(disk("disk0"),))


def with_disks(*disks):
    return evolve(USUAL, disks=disks)


def with_disks_of(facts, *disks, **more):
    return evolve(facts, disks=disks, **more)


def on(version, accelerator):
    """A VM of such a QEMU, whose disk holds the snapshot."""
    facts = with_disks(disk("disk0", snapshots=(SAVED,)))
    hardware = Hardware(accelerator=accelerator) if accelerator else None
    return evolve(facts, qemu=QemuVersion(*version, 0), hardware=hardware)


STANDING = (
    "stop\nquery-named-block-nodes\n"
    'snapshot-load job-id=j tag=t vmstate=disk0 devices=["disk0"]\n' + SEE + "\ncont"
)
NEW_TCG = on((11, 1), "tcg")
BITMAP = "block-dirty-bitmap-add node={} name=b"
LOAD = (
    'snapshot-load job-id=k tag=t vmstate=disk0 devices=["disk0","disk1"]\n'
    "query-jobs\njob-dismiss id=k"
)
HELD = with_disks(
    disk("disk0", snapshots=(SAVED,)), disk("disk1", snapshots=(SnapshotInfo("1", "t", 5, 0),))
)

COPY = "blockdev-backup job-id=b{0} device=disk{0} target=t{0} sync=full"
TARGET = 'blockdev-add node-name=to driver=qcow2 file={"driver":"file","filename":"/to"}'
MADE = (
    'blockdev-create job-id=f options={"driver":"file","filename":"/new","size":0}\n'
    + SEE[:-1]
    + "f"
)
NODE = "blockdev-add driver=file node-name=nf filename=/new"
IMAGE = MADE.replace('"file","filename":"/new","size":0', '"qcow2","file":"nf","size":8388608')
ADDED = "blockdev-add driver=qcow2 node-name=n file=nf"
FILED = "drive-backup device=disk{0} target=/{0} sync=full job-id=b{0} mode=existing"
RESIZE = "block_resize node-name=disk1 size="
HMP = 'human-monitor-command command-line="{}"'

CASES = {
    "monolithic": (USUAL, BOTH, []),
    "transactional": (USUAL, f"stop\n{ALONE}\n{TRANSACTION}\ncont", []),
    "without facts": (None, f"stop\n{ALONE}\n{TRANSACTION}\ncont", []),
    "machine state on a node of its own": (USUAL, f"{OWN}\nstop\n{STATE}\n{OVERLAYS}\ncont", []),
    "the same, of another instant": (
        USUAL,
        f"{OWN}\nstop\n{STATE}\ncont\n{OVERLAYS}",
        [(9, "one-instant")],
    ),
    "the same, and a disk of no instant": (
        USUAL,
        f"{OWN}\nstop\n{STATE}\n{SWITCH}\ncont",
        [(5, "tag-on-some-disks")],
    ),
    # one instant
    "guest runs between": (None, f"{ALONE}\n{TRANSACTION}", [(4, "one-instant")]),
    "two pauses": (
        None,
        f"stop\n{ALONE}\ncont\nstop\n{TRANSACTION}\ncont",
        [(7, "one-instant")],
    ),
    "disks one by one": (
        None,
        f"{SNAP.format('disk0')}\n{SNAP.format('disk1')}",
        [(2, "one-instant")],
    ),
    "disks one by one, paused": (
        None,
        f"stop\n{SNAP.format('disk0')}\n{SNAP.format('disk1')}\ncont",
        [],
    ),
    "load of parts of two instants": (
        with_disks(
            disk("disk0", snapshots=(SAVED,)), disk("disk1", snapshots=(SnapshotInfo("1", "t", 6),))
        ),
        "query-block\n" + BOTH.replace("save", "load"),
        [(2, "one-instant")],
    ),
    # order
    "snapshot before its vmstate": (
        None,
        f"stop\n{SNAP.format('disk0')}\n{ALONE}\ncont",
        [(3, "vmstate-before-snapshot")],
    ),
    "left paused": (None, f"stop\n{ALONE}\n{TRANSACTION}", [(1, "run-state-restored")]),
    "old deleted first": (
        None,
        f"{DELETE.format('disk0')}\n{ALONE}",
        [(1, "old-until-new")],
    ),
    "old deleted last": (None, f"{ALONE}\n{DELETE.format('disk0')}", []),
    "overlay added in the pause": (
        NEW,
        f"stop\n{OVERLAY}\n{SWITCH}\ncont",
        [(2, "overlay-ready")],
    ),
    "overlay added before": (NEW, f"{OVERLAY}\nstop\n{SWITCH}\ncont", []),
    # migration
    "snapshot after migrate": (
        NEW,
        f"stop\n{SNAP.format('disk0')}\n{MIGRATE}\nquery-migrate\n{SNAP.format('disk1')}\ncont",
        [(5, "nodes-active")],
    ),
    "undo while inactive": (
        evolve(NEW, disks=(disk("disk0", snapshots=(SnapshotInfo("1", "old", 5),)),)),
        f"stop\n{SNAP.format('disk0')}\n{MIGRATE}\nquery-migrate\n{DELETE.format('disk0')}",
        [(5, "active-before-undo")],
    ),
    "stopped stream, transaction first": (
        ONE,
        f"stop\n{SNAP.format('disk0')}\n{MIGRATE}\nquery-migrate\ncont",
        [],
    ),
    "stream alone": (
        NEW,
        f"{MIGRATE}\nquery-migrate\ncont",
        [(1, "one-instant")],
    ),
    "resumed before tracking": (
        ONE,
        f"{BACKGROUND}]\n{OVERLAY}\nstop\n{MIGRATE}\n{SWITCH}\ncont\nquery-migrate",
        [(5, "one-instant"), (6, "tracking-before-resume")],
    ),
    "resumed after tracking": (
        ONE,
        f"{BACKGROUND}]\n{OVERLAY}\nstop\n{MIGRATE}\nquery-migrate\n{SWITCH}\ncont",
        [],
    ),
    "a poll that showed nothing": (
        ONE,
        f"{BACKGROUND}]\n{OVERLAY}\nstop\n{MIGRATE}\n{POLL}\n{SWITCH}\ncont",
        [(7, "one-instant"), (8, "tracking-before-resume")],
    ),
    "background on 7.2": (USUAL, f"{BACKGROUND}]", [(1, "background-unsafe")]),
    "background with mapped-ram": (
        NEW,
        BACKGROUND + ',{"capability":"mapped-ram","state":true}]',
        [(1, "background-incompatible")],
    ),
    "a template's maker": (
        NEW,
        f"migrate-incoming uri=file:/source\n{IGNORE}true}}]\n{MIGRATE}\nquery-migrate\nquit",
        [],
    ),
    "a template's maker that runs on": (
        NEW,
        f"migrate-incoming uri=file:/source\n{IGNORE}true}}]\n{MIGRATE}\nquery-migrate\ncont",
        [(5, "maker-never-runs")],
    ),
    "a clone": (NEW, f"{IGNORE}true}}]\n{READ}\n{IGNORE}false}}]\ncont", []),
    "a clone with the capability left on": (
        NEW,
        f"{IGNORE}true}}]\n{READ}\ncont",
        [(3, "ignore-shared-off-before-it-runs")],
    ),
    "written with the capability and read without": (
        NEW,
        f"{IGNORE}true}}]\n{MIGRATE}\nquery-migrate\n{IGNORE}false}}]\n{READ}",
        [(2, "run-state-restored"), (5, "ignore-shared-on-both-sides")],
    ),
    "a save with multifd left on": (
        NEW,
        f"{MULTIFD}true}}]\n{BOTH}\n{MULTIFD}false}}]\n{BOTH.replace('=j', '=k').replace('=t', '=u')}",
        [(2, "known-settings")],
    ),
    "a save that is the end of QEMU": (
        USUAL,
        f"{MULTIFD}true}}]\n{BOTH}",
        [(2, "known-settings"), (2, "qemu-aborts")],
    ),
    "a save on a VM where somebody left mapped-ram on": (
        evolve(NEW, capabilities={"mapped-ram": True, "multifd": False}),
        BOTH,
        [(1, "known-settings")],
    ),
    "a load after a migration that failed": (
        with_disks_of(NEW, disk("disk0", snapshots=(SAVED,)), migration_error="no room"),
        'query-named-block-nodes\nsnapshot-load job-id=j tag=t vmstate=disk0 devices=["disk0"]\n'
        + SEE,
        [(2, "job-failed"), (2, "run-state-restored")],
    ),
    "fd: on 11": (
        NEW,
        f"getfd fdname=f\nstop\n{SNAP.format('disk0')}\nmigrate uri=fd:f\nquery-migrate\ncont",
        [(4, "fd-takes-no-file")],
    ),
    "exec: with a redirection": (
        ONE,
        f"stop\n{SNAP.format('disk0')}\nmigrate uri='exec:cat > /s'\nquery-migrate\ncont",
        [(3, "stream-readable")],
    ),
    "a migration nobody looks at": (
        ONE,
        f"stop\n{SNAP.format('disk0')}\n{MIGRATE}\ncont",
        [(3, "outcome-seen")],
    ),
    "disks before the switch-over is seen": (
        ONE,
        f"{LIVE}\n{MIGRATE}\n{SNAP.format('disk0')}\n{CONTINUE}\nquery-migrate\ncont",
        [(3, "outcome-seen")],
    ),
    "disks once the switch-over is seen": (
        ONE,
        f"{LIVE}\n{MIGRATE}\nquery-migrate\n{SNAP.format('disk0')}\n{CONTINUE}\nquery-migrate\ncont",
        [],
    ),
    # beside a stream
    "a disk without a part beside a stream": (
        NEW,
        f"stop\n{SNAP.format('disk0')}\n{MIGRATE}\nquery-migrate\ncont",
        [(3, "tag-on-some-disks")],
    ),
    # copies
    "copies one by one": (
        None,
        f"{COPY.format(0)}\n{COPY.format(1)}",
        [(2, "one-instant")],
    ),
    "copies one by one, of some blocks only": (
        None,
        f"{COPY.format(0)}\n{COPY.format(1)}".replace("full", "top"),
        [(2, "one-instant")],
    ),
    "copies in a transaction": (None, f"transaction(\n{COPY.format(0)}\n{COPY.format(1)}\n)", []),
    "copies one by one, paused": (None, f"stop\n{COPY.format(0)}\n{COPY.format(1)}\ncont", []),
    "the same disk copied again": (None, f"{COPY.format(0)}\nblockdev-del node-name=t0", []),
    "a copy of what is frozen": (
        ONE,
        f"{OVERLAY}\n{SWITCH}\n{TARGET}\nblockdev-backup job-id=c device=disk0 target=to sync=full",
        [],
    ),
    "a backup that overwrites": (
        None,
        "drive-backup device=disk0 target=/o sync=full job-id=b",
        [(1, "drive-backup-overwrites")],
    ),
    "two backups of two instants": (
        None,
        f"{FILED.format(0)}\n{FILED.format(1)}",
        [(2, "one-instant")],
    ),
    "an image that is made and used": (NEW, f"{MADE}\n{NODE}\n{IMAGE}\n{ADDED}", []),
    "a file that is used before it is made": (
        NEW,
        MADE.replace("query-jobs\njob-dismiss id=f", NODE),
        [(1, "job-not-dismissed"), (2, "outcome-seen")],
    ),
    "an image that is not made yet": (
        NEW,
        f"{MADE}\n{NODE}\n{ADDED}",
        [(5, "command-refused")],
    ),
    "the file of a disk made anew": (
        evolve(ONE, disks=(disk("disk0", filename="/new"),)),
        MADE,
        [(1, "job-failed")],
    ),
    "a file made twice": (NEW, f"{MADE}\n{MADE}", [(4, "create-empties")]),
    "an error that nobody asks for": (
        NEW,
        MADE.replace("query-jobs\n", ""),
        [(2, "outcome-seen")],
    ),
    # what changes between a save and a load
    "resized between": (
        USUAL,
        f"{BOTH}\nblock_resize node-name=disk1 size=16777216\nquery-block\n{LOAD}",
        [(6, "resize-undone")],
    ),
    "resized and back": (
        USUAL,
        f"{BOTH}\n{RESIZE}16777216\n{RESIZE}8388608\nquery-block\n{LOAD}",
        [],
    ),
    "plugged between": (
        USUAL,
        f"{BOTH}\ndevice_add driver=virtio-rng-pci id=r\nquery-block\n{LOAD}",
        [(6, "device-not-saved")],
    ),
    "plugged and unplugged between": (
        USUAL,
        f"{BOTH}\ndevice_add driver=virtio-rng-pci id=r\ndevice_del id=r\nquery-block\n{LOAD}",
        [],
    ),
    "unplugged between": (
        USUAL,
        f"device_add driver=virtio-rng-pci id=r\n{BOTH}\ndevice_del id=r\nquery-block\n{LOAD}\ncont",
        [(7, "device-missing"), (10, "cont-after-failed-load")],
    ),
    "unplugged and plugged again": (
        USUAL,
        f"{BOTH}\ndevice_del id=net0\ndevice_add driver=e1000 id=net0\nquery-block\n{LOAD}",
        [],
    ),
    "plugged between, by the human monitor": (
        USUAL,
        f"{HMP.format('savevm t')}\ndevice_add driver=virtio-rng-pci id=r\n{HMP.format('loadvm t')}",
        [(1, "hmp-snapshot"), (3, "device-not-saved"), (3, "hmp-snapshot")],
    ),
    "plugged before an old snapshot is loaded": (
        HELD,
        f"device_add driver=virtio-rng-pci id=r\nquery-block\n{LOAD}",
        [],
    ),
    "backends between": (
        USUAL,
        f"{BOTH}\nobject-add qom-type=iothread id=io\nnetdev_add type=user id=n\nquery-block\n{LOAD}",
        [],
    ),
    # jobs
    "a job nobody waits for": (
        USUAL,
        BOTH.split("\n", maxsplit=1)[0],
        [(1, "job-not-dismissed"), (1, "outcome-seen")],
    ),
    "dismissed unseen": (
        USUAL,
        BOTH.replace("query-jobs\n", ""),
        [(2, "outcome-seen")],
    ),
    "too early": (
        USUAL,
        f"stop\n{BOTH.replace(SEE, 'cont')}\n{SEE}",
        [(3, "outcome-seen")],
    ),
    "malformed job id": (USUAL, BOTH.replace("=j", "=7up"), [(1, "job-id-malformed")]),
    "malformed job id, text": (USUAL, BOTH.replace("=j", "=_j"), [(1, "job-id-malformed")]),
    "job id used again": (
        USUAL,
        BOTH.replace("\njob-dismiss id=j", "") + "\n" + BOTH.replace("tag=t", "tag=u"),
        [(3, "job-id-reused")],
    ),
    "job id of the VM's": (
        evolve(USUAL, jobs=(JobInfo("j", "snapshot-save", "concluded"),)),
        BOTH,
        [(1, "job-id-reused")],
    ),
    "vmstate not in devices": (
        USUAL,
        BOTH.replace('["disk0",', "["),
        [(1, "tag-on-some-disks"), (1, "vmstate-not-in-devices")],
    ),
    # tags
    "numeric tag": (USUAL, BOTH.replace("tag=t", "tag='12'"), [(1, "tag-all-digits")]),
    "empty tag": (USUAL, BOTH.replace("tag=t", "tag=''"), [(1, "tag-empty")]),
    "long tag": (USUAL, BOTH.replace("tag=t", "tag=" + "t" * 256), [(1, "tag-too-long")]),
    "tag on one of two": (
        with_disks(disk("disk0", snapshots=(SAVED,)), disk("disk1")),
        BOTH,
        [(1, "tag-on-some-disks")],
    ),
    "tag taken": (
        with_disks(disk("disk0", snapshots=(SAVED,)), disk("disk1", snapshots=(SAVED,))),
        BOTH,
        [(1, "tag-taken")],
    ),
    "a disk left out": (USUAL, ALONE, [(1, "tag-on-some-disks")]),
    "a disk in two commands": (
        None,
        f"stop\n{SNAP.format('disk1')}\n{BOTH}\ncont",
        [(3, "device-twice")],
    ),
    # names and disks
    "a disk twice": (USUAL, BOTH.replace('"disk1"', '"disk1","disk1"'), [(1, "device-twice")]),
    "filter and child": (
        with_disks(disk("disk0"), disk("disk1", filters=(ChainNode("top", "throttle"),))),
        BOTH.replace('"disk1"', '"disk1","top"'),
        [(1, "filter-and-child")],
    ),
    "the node under a filter": (
        with_disks(
            disk("disk0"),
            evolve(disk("disk1", filters=(ChainNode("top", "throttle"),)), root="top"),
        ),
        f"stop\n{ALONE}\n{TRANSACTION}\ncont",
        [(5, "name-not-root")],
    ),
    "qdev id": (
        USUAL,
        BOTH.replace('"disk1"', '"dev-disk1"'),
        [(1, "name-not-node")],
    ),
    "-drive id": (
        with_disks(disk("disk0"), Disk("disk1", "@disk1", "disk1", "qcow2", drive_id="disk1")),
        BOTH,
        [(1, "name-not-node")],
    ),
    "-drive id in a transaction": (
        with_disks(disk("disk0"), Disk("disk1", "@disk1", "disk1", "qcow2", drive_id="disk1")),
        f"stop\n{ALONE}\n{TRANSACTION}\ncont",
        [],
    ),
    "unknown disk": (
        with_disks(disk("disk0")),
        BOTH,
        [(1, "disk-unknown")],
    ),
    "raw": (
        with_disks(disk("disk0"), evolve(disk("disk1"), driver="raw")),
        BOTH,
        [(1, "format-without-snapshots")],
    ),
    "read-only": (
        with_disks(disk("disk0"), evolve(disk("disk1"), read_only=True)),
        BOTH,
        [(1, "disk-read-only")],
    ),
    "data file": (
        with_disks(disk("disk0"), disk("disk1", data_file=True)),
        BOTH,
        [(1, "external-data-file")],
    ),
    "machine state in an encrypted image": (
        with_disks(disk("disk0", encrypted=True), disk("disk1")),
        BOTH,
        [(1, "qemu-aborts"), (1, "vmstate-encrypted")],
    ),
    "no room for a snapshot": (
        with_disks(disk("disk0"), disk("disk1", refcount_bits=1)),
        BOTH,
        [(1, "snapshots-full")],
    ),
    "a damaged image": (
        with_disks(disk("disk0"), disk("disk1", corrupt=True)),
        BOTH,
        [(1, "image-corrupt")],
    ),
    "a block job": (
        with_disks(disk("disk0"), disk("disk1", users=("mirror0",))),
        f"stop\n{ALONE}\n{TRANSACTION}\ncont",
        [(5, "disk-busy")],
    ),
    # loading and deleting
    "load unchecked": (
        with_disks(disk("disk0", snapshots=(SAVED,))),
        ALONE.replace("save", "load"),
        [(1, "load-unchecked")],
    ),
    "load checked": (
        with_disks(disk("disk0", snapshots=(SAVED,))),
        "query-named-block-nodes\n" + ALONE.replace("save", "load"),
        [],
    ),
    "load without one of its disks": (
        with_disks(disk("disk0", snapshots=(SAVED,)), disk("disk1", snapshots=(SAVED,))),
        "query-named-block-nodes\n" + ALONE.replace("save", "load"),
        [(2, "tag-on-some-disks")],
    ),
    "cont after a failed load": (
        HELD,
        f"query-block\n{BITMAP.format('disk1')}\n{LOAD}\ncont",
        [(3, "job-failed"), (6, "cont-after-failed-load")],
    ),
    "cont after a load that changed nothing": (
        with_disks(disk("disk0", snapshots=(SnapshotInfo("1", "t", 5),))),
        "query-block\n" + ALONE.replace("save", "load") + "\ncont",
        [(2, "job-failed")],
    ),
    "delete by name": (
        None,
        'snapshot-delete job-id=j tag=t devices=["disk0"]\n' + SEE,
        [(1, "delete-by-name")],
    ),
    "delete without id": (
        None,
        DELETE.format("disk0").replace("id='1' ", ""),
        [(1, "delete-by-name")],
    ),
    # instructions
    "stop in a transaction": (
        None,
        'transaction actions=[{"type":"stop","data":{}}]',
        [(1, "action-unknown")],
    ),
    "the proposed action": (
        NEW,
        "transaction(\nmachine-snapshot-internal-sync name=t device=disk0\n)",
        [(1, "action-unknown")],
    ),
    "no such command": (None, "machine-snapshot-internal-sync tag=t", [(1, "command-lacking")]),
    "no such argument": (None, "stop hard=true", [(1, "arguments-malformed")]),
    "snapshot-sync": (
        None,
        "blockdev-snapshot-sync node-name=disk0 snapshot-file=/o snapshot-node-name=ov",
        [(1, "snapshot-sync-overwrites")],
    ),
    "grouped": (
        None,
        GROUPED,
        [(1, "completion-mode-grouped")],
    ),
    "stop before a load": (NEW_TCG, STANDING, [(3, "stale-code")]),
    "never thawed": (None, '{"execute": "guest-fsfreeze-freeze"}', [(1, "frozen-capture")]),
    "savevm": (None, 'human-monitor-command command-line="savevm t"', [(1, "hmp-snapshot")]),
}


def found(facts, text):
    report = lint(read_listing(text), facts)
    return [(finding.line, finding.rule) for finding in report.findings]


@pytest.mark.parametrize("name", CASES)
def test_a_trap_is_found_at_its_line_and_nothing_else(name):
    """Exactly the expected findings, no more and no fewer."""
    facts, text, expected = CASES[name]
    assert found(facts, text) == expected


WITHOUT_A_CASE = {"command-refused", "node-below-disk", "tag-control-character", "tag-not-text"}


def test_every_rule_has_a_case():
    """No rule can be lost without a test failing."""
    shown = {rule for _, _, expected in CASES.values() for _, rule in expected}
    assert lint_codes() - WITHOUT_A_CASE <= shown


def test_what_needs_facts_is_said_to_be_unchecked():
    """Without facts the report says what it took for granted; with facts it need not."""
    assert "which disks the VM has" in lint(read_listing(BOTH)).unchecked[0]
    assert lint(read_listing(BOTH), USUAL).unchecked == ()


def test_a_recorded_refusal_is_believed():
    """A command that QEMU refused did nothing, whatever the model says."""
    text = '{"execute": "stop"}\n{"error": {"desc": "no"}}\n{"execute": "query-status"}'
    assert found(None, text) == []
    assert found(None, "stop\nquery-status") == [(1, "run-state-restored")]


def test_a_device_goes_when_an_event_says_so():
    """`device_del` asks the guest; a recording that shows no DEVICE_DELETED means that it stayed."""
    ask = '{"execute": "device_del", "arguments": {"id": "net0"}}\n{"event": "RTC_CHANGE"}'
    gone = '\n{"event": "DEVICE_DELETED", "data": {"device": "net0", "path": "/x"}}'
    load = f"\nquery-block\n{LOAD}"
    assert found(USUAL, f"{BOTH}\n{ask}{load}") == []
    assert found(USUAL, f"{BOTH}\n{ask}{gone}{load}")[0] == (8, "device-missing")


def test_qemu_s_words_of_a_failed_read_are_not_made_up():
    """They depend on the device and on the version: what is found says what happens."""
    facts, text, _ = CASES["unplugged between"]
    report = lint(read_listing(text), facts)
    assert not [each for each in report.findings if "QEMU says" in each.message]
    assert "its state is not read" in report.findings[1].message


def test_an_imagined_size_is_not_told():
    """Only facts know how large a disk was."""
    text = f"{BOTH}\nblock_resize node-name=disk1 size=16777216\nquery-block\n{LOAD}"
    (finding,) = lint(read_listing(text)).findings
    assert "bytes" not in finding.message
    sized = evolve(USUAL, disks=tuple(evolve(d, virtual_size_bytes=2**30) for d in USUAL.disks))
    (finding,) = lint(read_listing(text), sized).findings
    assert "as it was, 1073741824 bytes" in finding.message


OUT_OF_BAND = '{"exec-oob": "migrate-pause", "id": 1}'
HANDSHAKE = '{"execute": "qmp_capabilities"%s}\n'


def test_out_of_band_has_to_be_enabled():
    """As measured on 7.2 and 11.1; without the handshake it is not known."""
    enabled = HANDSHAKE % ', "arguments": {"enable": ["oob"]}'
    assert found(None, HANDSHAKE % "" + OUT_OF_BAND) == [(2, "command-refused")]
    assert found(None, enabled + OUT_OF_BAND) == []
    assert "enabled exec-oob" in lint(read_listing(OUT_OF_BAND)).unchecked[-1]


WORKAROUND = f"""{OVERLAY}
migrate uri=file:/s
query-migrate
{SWITCH}
cont"""


def test_the_pause_at_the_end_of_a_live_migration_is_one_to_capture_disks_in():
    """The thread's own work-around: the guest stands when the migration is complete, until `cont`."""
    assert found(ONE, WORKAROUND) == []
    late = WORKAROUND.replace(f"{SWITCH}\ncont", f"cont\n{SWITCH}")
    assert found(ONE, late) == [(2, "one-instant")]


MIRROR = "drive-mirror device=disk0 target=/o sync=full job-id=c\n"
VIRSH = """virsh snapshot-create-as vm x
virsh qemu-monitor-command vm '{"execute": "job-dismiss", "arguments": {"id": "j"}}'"""


def failed_load(bitmap_on, *more):
    text = "\n".join(["query-named-block-nodes", BITMAP.format(bitmap_on), LOAD, *more])
    report = lint(read_listing(text), HELD)
    return {finding.rule: finding for finding in report.findings}


def test_no_advice_after_a_failed_load_is_what_another_rule_forbids():
    """A load that fails at the second disk leaves two instants: `cont` is warned of, and not advised."""
    assert "then cont" in failed_load("disk1")["run-state-restored"].remedy
    assert "disk0 went back and disk1 did not" in failed_load("disk1")["run-state-restored"].remedy
    told = failed_load("disk1", "cont")["cont-after-failed-load"].message
    assert "disk0 went back and disk1 did not" in told


def test_a_load_that_failed_before_it_changed_anything_may_be_followed_by_cont():
    """At the first disk nothing was reverted (facts 18 and 20)."""
    assert failed_load("disk0")["run-state-restored"].remedy == "end with cont"
    assert set(failed_load("disk0", "cont")) == {"job-failed"}


@pytest.mark.parametrize(
    "text",
    [
        MIRROR + "job-dismiss id=c",
        "object-add qom-type=throttle-group id=g\nblockdev-del node-name=g",
        VIRSH,
    ],
)
def test_qemu_is_not_quoted_about_what_depends_on_an_unmodelled_command(text):
    """It is not checked, and that is said with the line that it depends on."""
    report = lint(read_listing(text), USUAL)
    assert report.findings == ()
    assert "it depends on line 1" in report.unchecked[-1]


def test_what_does_not_depend_on_an_unmodelled_command_is_judged():
    """Another job's id has nothing to do with it."""
    assert found(USUAL, MIRROR + "job-dismiss id=d") == [(2, "command-refused")]


def test_a_message_that_is_no_command_is_one_finding():
    """`data` for `arguments` was ten, none of which is QEMU's."""
    report = lint(read_listing('{"execute": "snapshot-save", "data": {"job-id": "j"}}'), USUAL)
    (finding,) = report.findings
    assert (finding.rule, finding.line) == ("command-refused", 1)
    assert "QMP input member 'data' is unexpected" in finding.message


def hmp(line):
    return f'{{"execute": "human-monitor-command", "arguments": {{"command-line": "{line}"}}}}'


def test_savevm_is_told_of_with_what_it_deletes():
    """The old snapshot of that name goes before the new one is there (fact 101)."""
    (finding,) = lint(read_listing(hmp("savevm t")), HELD).findings
    assert finding.rule == "hmp-snapshot"
    assert "it deletes 't' of disk0, disk1 first" in finding.message
    (finding,) = lint(read_listing(hmp("savevm new")), HELD).findings
    assert "deletes" not in finding.message


def test_an_error_that_the_human_monitor_writes_is_qemu_s():
    """It is no error of QMP, so a client that looks for one misses it (fact 100)."""
    raw = with_disks(disk("disk0"), Disk("raw0", "raw0", "raw0", "raw"))
    report = lint(read_listing(hmp("savevm t")), raw)
    said = [finding.message for finding in report.findings if finding.rule == "command-refused"]
    assert said == ["QEMU says: Error: Device 'raw0' is writable but does not support snapshots"]


def test_what_loadvm_needs_is_there_where_nobody_knows_the_vm():
    """As for snapshot-load: a sequence is judged in its favour."""
    assert found(None, hmp("loadvm t")) == [(1, "hmp-snapshot")]
    assert found(USUAL, hmp("loadvm t")) == [
        (1, "command-refused"),
        (1, "hmp-snapshot"),
        (1, "run-state-restored"),
    ]
    assert found(None, f"{hmp('savevm t')}\n{hmp('loadvm t')}") == [
        (1, "hmp-snapshot"),
        (2, "hmp-snapshot"),
    ]


TWO_SYNC = """blockdev-snapshot-sync node-name=disk0 snapshot-file=/a snapshot-node-name=a
blockdev-snapshot-sync node-name=disk1 snapshot-file=/b snapshot-node-name=b"""
OVERWRITES = [(1, "snapshot-sync-overwrites"), (2, "snapshot-sync-overwrites")]


def test_overlays_that_are_put_on_one_after_the_other_are_of_two_instants():
    """Under a running guest; the same disk again begins another set, and a pause makes them one."""
    assert found(USUAL, TWO_SYNC) == [OVERWRITES[0], (2, "one-instant"), OVERWRITES[1]]
    assert found(USUAL, f"stop\n{TWO_SYNC}\ncont") == [
        (2, "snapshot-sync-overwrites"),
        (3, "snapshot-sync-overwrites"),
    ]
    again = TWO_SYNC.replace("node-name=disk1", "node-name=a")
    assert found(USUAL, again) == OVERWRITES


LOADS_ITSELF = STANDING.removeprefix("stop\n")


@pytest.mark.parametrize(
    ("text", "facts", "found", "noted"),
    [
        (STANDING, on((11, 1), "tcg"), True, False),
        (LOADS_ITSELF, on((11, 1), "tcg"), False, False),
        (STANDING, on((11, 1), "kvm"), False, False),
        (STANDING, on((10, 0), "tcg"), False, False),
        (STANDING, on((11, 1), ""), False, True),
        (STANDING, on((10, 0), ""), False, False),
        (STANDING, None, False, True),
        (LOADS_ITSELF, None, False, False),
    ],
)
def test_code_that_outlives_a_load(text, facts, found, noted):
    """A finding where the facts say so, a note where nobody knows (fact 76)."""
    report = lint(read_listing(text), facts)
    assert ("stale-code" in {finding.rule for finding in report.findings}) is found
    assert any("fact 76" in note for note in report.unchecked) is noted
