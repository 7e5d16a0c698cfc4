"""What a restore in a fresh QEMU decides, and QEMU's command line from a template."""

import json

import pytest
from attrs import evolve

from planner.errors import BadInput, Refused
from planner.load.command_line import fill_template
from planner.load.fresh_qemu import (
    expected,
    plan_restore,
    qmp_steps,
)
from planner.load.restored import lying_problems, on_restore
from planner.model.facts import QemuVersion, SnapshotInfo
from planner.model.image import Image
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.readied import Readied
from planner.parts.stream import StateStream
from planner.present.restore_view import restore_text, restore_to_plain

MIB = 2**20
INTERNAL = InternalSnapshot(
    disk="disk0",
    node="disk0",
    file="/vm/disk0.qcow2",
    format="qcow2",
    snapshot_id="3",
    vm_clock_ns=7,
    virtual_size_bytes=MIB,
)
FROZEN = FrozenImage(
    disk="vars0",
    node="vars0",
    file="/vm/vars.raw",
    format="raw",
    overlay="snapplan-0123456789ab",
    overlay_file="/over/vars.a.qcow2",
    virtual_size_bytes=MIB,
)
STREAM = StateStream(file="/s/a", format="mapped-ram", vm_state_size_bytes=9)
QEMU7, QEMU11 = QemuVersion(7, 2, 22), QemuVersion(11, 1, 3)


def manifest(*parts, **more):
    return Manifest("a", "live", "0", QEMU11, "pc", parts, **more)


def images(**change):
    disk0 = Image("/vm/disk0.qcow2", "qcow2", MIB, (SnapshotInfo("3", "a", 7),))
    frozen = Image("/vm/vars.raw", "raw", MIB)
    found = {"disk0": {disk0.file: disk0}, "vars0": {frozen.file: frozen}}
    return {**found, **change}


def plan(made, seen=None, others=(), **more):
    return plan_restore(made, seen or images(), {"/s/a": 9}, others, **more)


def ways(made):
    return [(disk.part.disk, disk.how, disk.file) for disk in made.disks]


def test_frozen_images_get_new_overlays_and_internal_parts_are_reverted():
    """By default nothing is copied, and what the revert loses is said."""
    made = plan(manifest(INTERNAL, FROZEN, STREAM), taken=["/over/vars.a.restored-1.qcow2"])
    assert ways(made) == [
        ("disk0", Readied.REVERT, "/vm/disk0.qcow2"),
        ("vars0", Readied.NEW_OVERLAY, "/over/vars.a.restored-2.qcow2"),
    ]
    assert [disk.part.disk for disk in made.loses] == ["disk0"]
    assert made.arguments == ("-S", "-incoming", "defer")


def test_copies_lose_nothing():
    """With a folder, every new image is there; names that are alike do not clash."""
    made = plan(manifest(INTERNAL, FROZEN, STREAM), copies="/new/")
    assert ways(made) == [
        ("disk0", Readied.CONVERT, "/new/disk0.restored-1.qcow2"),
        ("vars0", Readied.NEW_OVERLAY, "/over/vars.a.restored-1.qcow2"),
    ]
    assert made.loses == ()


def test_machine_state_inside_an_image():
    """`snapshot-load` reverts the disks itself; a copy keeps all that an image holds."""
    holder = evolve(INTERNAL, vm_state_size_bytes=5)
    disk0 = Image("/vm/disk0.qcow2", "qcow2", MIB, (SnapshotInfo("3", "a", 7, 5),))
    seen = images(disk0={disk0.file: disk0})
    made = plan(manifest(holder, FROZEN), seen)
    assert [disk.how for disk in made.disks] == [Readied.AS_IT_IS, Readied.NEW_OVERLAY]
    assert (made.loads, made.arguments, list(qmp_steps(made, QEMU11))) == (True, ("-S",), [])
    made = plan(manifest(holder, FROZEN), seen, copies="/new")
    assert made.disks[0].how is Readied.COPY
    shown = expected(made)
    assert [part.file for part in shown.parts] == ["/new/disk0.restored-1.qcow2"]
    assert shown.excluded == ("vars0",)
    assert "snapshot-load" in restore_text(made, ready=False)


@pytest.mark.parametrize(
    ("qemu", "uris"), [(QEMU7, ["fd:snapplan-stream"]), (QEMU11, ["file:/s/a"])]
)
def test_a_stream_is_read_as_each_qemu_can(qemu, uris):
    """By a path where QEMU knows file: URIs, else by a descriptor (fact 31); mapped only if it is."""
    steps = list(qmp_steps(plan(manifest(FROZEN, STREAM)), qemu))
    assert [a["uri"] for command, a in steps if command == "migrate-incoming"] == uris
    assert ("getfd" in dict(steps)) == (qemu is QEMU7)
    assert steps[0][0] == "migrate-set-capabilities"
    plain = plan(manifest(FROZEN, evolve(STREAM, format="stream")))
    assert "migrate-set-capabilities" not in dict(qmp_steps(plain, qemu))


def test_a_stream_is_passed_where_snapplan_starts_qemu():
    """QEMU may run as somebody who may not open the file (fact 75)."""
    steps = dict(qmp_steps(plan(manifest(FROZEN, STREAM)), QEMU11, passing=True))
    number = steps["add-fd"]["fdset-id"]
    assert steps["migrate-incoming"] == {"uri": f"file:/dev/fdset/{number}"}


def codes(made, seen=None, **more):
    with pytest.raises(Refused) as refused:
        plan(made, seen, **more)
    return {problem.code for problem in refused.value.problems}


def test_what_is_refused():
    """A missing or changed part, a missing stream, an image that another snapshot has frozen."""
    frozen = evolve(FROZEN, disk="disk0", file="/vm/disk0.qcow2")
    later = evolve(manifest(frozen), tag="later")
    whole = manifest(INTERNAL, FROZEN, STREAM)
    assert codes(whole, others=[later]) == {"part-needed"}
    assert plan(whole, others=[later], copies="/new").loses == ()
    assert codes(whole, {**images(), "vars0": {}}) == {"file-missing"}
    grown = Image("/vm/vars.raw", "raw", 2 * MIB)
    assert codes(whole, images(vars0={grown.file: grown})) == {"part-size-differs"}
    assert codes(manifest(evolve(INTERNAL, snapshot_id="4"))) == {"part-missing"}
    assert codes(manifest(evolve(STREAM, file="/s/gone"))) == {"file-missing"}
    holder = evolve(INTERNAL, vm_state_size_bytes=5)
    over = Image("/vm/disk0.qcow2", "qcow2", MIB, (SnapshotInfo("3", "a", 7, 5),), ("base",))
    assert codes(manifest(holder), images(disk0={over.file: over}), copies="/n") == {"load-cannot"}


def test_the_way_is_shown():
    """Each disk's command, the arguments and the QMP commands; the loss is said."""
    made = plan(evolve(manifest(INTERNAL, FROZEN, STREAM), qemu=QEMU7))
    text = restore_text(made, ready=False)
    assert "qemu-img snapshot -a3 -- /vm/disk0.qcow2" in text
    over = "-F raw -b /vm/vars.raw -- /over/vars.a.restored-1.qcow2 1048576"
    assert over in text
    assert "what disk0 holds now is lost" in text
    assert "-incoming defer" in text
    assert "getfd" in text
    assert "qemu-img" not in restore_text(made, ready=True)
    said = restore_to_plain(made, ready=False)
    last = [json.loads(command)["execute"] for command in said["qmp"]][-3:]
    assert last == ["migrate-incoming", "migrate-set-capabilities", "cont"], (
        "mapped-ram is off again"
    )
    copied = restore_to_plain(plan(manifest(INTERNAL), copies="/n"), ready=False)
    assert copied["disks"][0]["command"][:2] == ["qemu-img", "convert"]


def test_a_restored_disk_keeps_its_frozen_image():
    """An overlay is not merged into an image that an overlay of a restore lies on."""
    taken = [
        "/over/vars.a.restored-12.qcow2",
        "/over/vars.a.restored-x.qcow2",
        "/over/vars.a.qcow2",
    ]
    seen = on_restore(manifest(INTERNAL, FROZEN), (), None)
    (problem,) = lying_problems(seen, taken)
    assert (problem.code, problem.subject) == ("part-needed", "vars0")
    assert taken[0] in problem.message
    bare = plan(manifest(evolve(FROZEN, overlay_file="/over/.vars")))
    assert bare.disks[0].file == "/over/.vars.restored-1.qcow2"
    promoted = plan(manifest(evolve(FROZEN, overlay_file="/over/vars.a.restored-7.qcow2")))
    assert promoted.disks[0].file == "/over/vars.a.restored-1.qcow2"


DISKS = {"disk0": ("/a b/x,y.qcow2", "qcow2")}


def test_a_template_is_filled_word_by_word():
    """A path stays one word, JSON stays JSON, and an option's commas are doubled."""
    template = (
        "qemu -drive file={disk:disk0},format={format:disk0} -hda {disk:disk0} "
        """-blockdev '{"driver":"{format:disk0}","list":[1,{"filename":"{disk:disk0}"}]}' """
        "-qmp unix:{qmp},server=on -x '{not json {disk:disk0}'"
    )
    words = fill_template(template, DISKS, "/run/q")
    assert words[2] == "file=/a b/x,,y.qcow2,format=qcow2"
    assert words[4] == "/a b/x,y.qcow2"
    assert json.loads(words[6]) == {
        "driver": "qcow2",
        "list": [1, {"filename": "/a b/x,y.qcow2"}],
    }
    assert words[8:] == ("unix:/run/q,server=on", "-x", "{not json /a b/x,,y.qcow2")


@pytest.mark.parametrize(
    "word",
    [
        "file={disk:disk0},format=qcow2",
        "driver=file,filename={disk:disk0}",
        """-blockdev '{"driver": "qcow2", "file": "{disk:disk0}"}' """,
        "{disk:disk0} {format:disk0}",
    ],
)
def test_a_template_says_each_format(word):
    """By a place or by a word of its own; what says none would be guessed, and is refused below."""
    assert fill_template(f"qemu {{qmp}} {word}", DISKS, "/run/q")


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("", "template-malformed"),
        ("qemu 'x", "template-malformed"),
        ("qemu {disk:other}", "template-malformed"),
        ("qemu {disk:disk0}", "template-incomplete"),
        ("qemu {qmp} {format:disk0}", "template-incomplete"),
        ("qemu {qmp} -hda {disk:disk0}", "template-probes"),
        ("qemu {qmp} -drive file={disk:disk0},if=none,id=format", "template-probes"),
    ],
)
def test_a_template_that_cannot_be_right(template, code):
    """Nothing is started by a command line that leaves out a disk or the socket."""
    with pytest.raises(BadInput) as bad:
        fill_template(template, {"disk0": ("/a", "raw")}, "/run/q")
    assert bad.value.code == code


def test_a_script_need_not_be_told_that_an_image_is_qcow2():
    """Its first bytes are not the guest's, so that QEMU guesses right, whatever the guest wrote."""
    filled = fill_template("/vm/start.sh {disk:disk0} {qmp}", DISKS, "/run/q")
    assert filled == ("/vm/start.sh", "/a b/x,y.qcow2", "/run/q")
