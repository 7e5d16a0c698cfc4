"""Strategies: VMs of every shape that matters, requests over them, and what must become of both.

What is expected (`World`) is decided here by the generator, from what it put in; nothing asks
`planner.compile`.
"""

import json
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from planner.model.facts import Bitmap, ChainNode, Disk, Facts, JobInfo, QemuVersion, SnapshotInfo
from planner.model.request_text import read_request
from tests.unit.build import SCHEMAS

TAG = "before-upgrade"
DESIGNS = ("monolithic", "transactional", "auto")


@dataclass(frozen=True)
class World:
    """A VM, a request, and what is expected of the snapshot."""

    facts: Facts
    plain: dict
    internal: frozenset
    vmstate: str
    ends_running: bool
    olds_left: frozenset  # (disk, id) of the old snapshots that must still be there
    tag: str = TAG

    @property
    def request(self):
        return read_request(json.dumps(self.plain))

    @property
    def monolithic_fits(self):
        return bool(self.vmstate) and self.ends_running == (self.facts.run_state == "running")


class Dice:
    """Many small choices out of one drawn number: quick to draw, and smaller is simpler."""

    def __init__(self, number):
        self._left = number

    def choose(self, options):
        self._left, picked = divmod(self._left, len(options))
        return options[picked]


dice = st.builds(Dice, st.integers(0, 2**64 - 1))


def snapshots(pick):
    """Old snapshots of a disk, ids unique, some of them of the tag."""
    names = pick.choose(OLD_TAGS)
    return tuple(
        SnapshotInfo(str(number), name, number * 10, pick.choose([0, 4096]))
        for number, name in enumerate(names, start=1)
    )


OLD_TAGS = (
    (), (), (), (), ("older",), ("older", "1"), (TAG,), ("1", TAG), (TAG, "x", TAG),
)  # fmt: skip
SHAPES = ("node", "node", "filter", "drive", "drive-filter")


def make_disk(pick, name, *, able):
    """A disk; `able`: one that can hold an internal snapshot now."""
    faults = set() if able else {pick.choose(FAULTS), pick.choose(FAULTS)}
    shape = pick.choose(SHAPES)
    attached = shape.startswith("drive") or pick.choose(range(8)) < 7
    node = f"@{name}" if shape.startswith("drive") else name
    filters = ()
    root = name  # the root node, or the -drive id
    if shape == "filter":
        root = f"{name}-filter"
        filters = (ChainNode(root, "throttle"),)
    elif shape == "drive-filter":
        filters = (ChainNode("", "throttle"),)
    backing = tuple(ChainNode(f"{name}-backing{i}", "qcow2") for i in range(pick.choose(range(3))))
    qdev = pick.choose([f"{name}-device", f"/machine/peripheral/{name}-device/virtio"])
    return Disk(
        name=name,
        node=node,
        root=root,
        driver="raw" if "raw" in faults else "qcow2",
        read_only="read-only" in faults,
        drive_id=name if shape.startswith("drive") else "",
        qdev=qdev if attached and (shape != "drive" or pick.choose([True, False])) else "",
        active="inactive" not in faults,
        filters=filters,
        backing=backing,
        below=(f"{name}-file",),
        filename=f"/vm/{name}.img",
        virtual_size_bytes=pick.choose([0, 1 << 30]),
        data_file="data-file" in faults,
        encrypted=pick.choose([False, True]),
        snapshots=snapshots(pick),
        bitmaps=pick.choose([(), (Bitmap("b", persistent=True),)]),
        users=("mirror0",) if "busy" in faults else (),
    )


FAULTS = ("", "", "", "raw", "read-only", "data-file", "inactive", "busy")


@st.composite
def machines(draw, *, able):
    """Facts of a VM with 0 to 40 disks."""
    count = draw(st.one_of(st.integers(0, 5), st.integers(0, 40)))
    if able:
        count = max(count, 1)
    base = draw(st.sampled_from(["disk", "d", "others", "Z.y-x_"]))
    found = [
        make_disk(draw(dice), f"{base}{number}", able=able and number == 0)
        for number in range(count)
    ]
    found.sort(key=lambda disk: disk.name)
    version = draw(st.sampled_from(list(SCHEMAS)))
    states = ["running", "running", "paused"]
    if not able:
        states += ["postmigrate", "io-error", "prelaunch"]
    live = {disk.node: f"#block{i}" for i, disk in enumerate(found) if disk.node[0] == "@"}
    quiet = able or draw(st.integers(0, 4)) > 0
    return Facts(
        qemu=QemuVersion(int(version.split(".")[0]), 2, 1),
        machine="pc-q35-7.2",
        run_state=draw(st.sampled_from(states)),
        disks=tuple(found),
        jobs=() if quiet else (JobInfo("j", "snapshot-save", "running"),),
        migration="" if quiet else draw(st.sampled_from(["", "active"])),
        blocked_reasons=() if quiet else ("vfio",),
        schema=SCHEMAS[version],
        vm_uuid="11111111-2222-3333-4444-555555555555",
        live_nodes=live,
    )


def is_able(disk):
    return (
        disk.driver == "qcow2"
        and not (disk.read_only or disk.data_file or disk.users)
        and disk.active
    )


def is_left_out_unasked(disk):
    """A disk that no request need name."""
    return disk.read_only or not (disk.qdev or disk.drive_id)


@st.composite
def possible(draw):
    """A world whose request can be done by one design at least."""
    facts = draw(machines(able=True))
    others = draw(st.sampled_from(["refuse", "exclude", "internal"]))
    replace = draw(st.booleans())
    wishes, internal = {}, set()
    for disk in facts.disks:
        taken = any(snapshot.name == TAG for snapshot in disk.snapshots)
        can = is_able(disk) and (replace or not taken)
        unnamed = is_left_out_unasked(disk) or others == "exclude" or (can and others == "internal")
        must = others == "internal" and not can and not is_left_out_unasked(disk)
        pick = draw(dice)
        if unnamed and not must and pick.choose([False, True]):
            if others == "internal" and not is_left_out_unasked(disk):
                internal.add(disk.name)
            continue
        wish = pick.choose(["internal", "internal", "exclude"]) if can else "exclude"
        if wish == "internal":
            internal.add(disk.name)
        wishes[pick.choose(disk.names)] = wish
    assume(internal)
    plain_images = {disk.name for disk in facts.disks if not disk.encrypted}
    # An encrypted image may be a part, and never hold the machine state (fact 66).
    holder = draw(st.sampled_from(["", *sorted(internal & plain_images)]))
    names = {disk.name: disk.names for disk in facts.disks}
    after = draw(st.sampled_from(["as-before", "as-before", "running", "paused"]))
    before = facts.run_state
    plain = {
        "tag": TAG,
        "machine-state": {"internal": draw(st.sampled_from(names[holder]))} if holder else "none",
        "disks": wishes,
        "others": others,
        "existing-tag": "replace" if replace else "refuse",
        "run-state-after": after,
    }
    olds = frozenset(
        (disk.name, old.id)
        for disk in facts.disks
        for old in disk.snapshots
        if not (disk.name in internal and old.name == TAG)
    )
    ends = before if after == "as-before" else after
    return World(facts, plain, frozenset(internal), holder, ends == "running", olds)


names_of_nothing = st.sampled_from(["nothing", "others", "#block12", "@disk0", "é"])
wishes = st.one_of(
    st.sampled_from(["internal", "internal", "exclude"]),
    st.builds(lambda path: {"external": path}, st.sampled_from(["/o/a", "/o/b"])),
)
junk = st.sampled_from([None, 7, "", "maybe", [], {}, {"external": ""}, {"internal": 1}, "\x00"])


@st.composite
def any_request(draw, facts):
    """Plain values of a request that may ask for anything, malformed things too."""
    known = [name for disk in facts.disks for name in disk.names]
    known += [layer.node for disk in facts.disks for layer in disk.backing]
    name = st.one_of(st.sampled_from(known), names_of_nothing) if known else names_of_nothing
    states = st.one_of(
        st.just("none"),
        st.builds(lambda disk: {"internal": disk}, name),
        st.builds(
            lambda capture: {"external": "/o/a", "capture": capture},
            st.sampled_from(["stopped", "live", "background"]),
        ),
    )
    plain = {
        "tag": draw(st.sampled_from([TAG, TAG, TAG, "x", "12", "", "a" * 300, "\x07"])),
        "machine-state": draw(states),
        "disks": draw(st.dictionaries(name, wishes, max_size=8)),
    }
    if draw(st.booleans()):
        plain["others"] = draw(st.sampled_from(["refuse", "exclude", "internal"]))
    if draw(st.booleans()):
        plain["existing-tag"] = draw(st.sampled_from(["refuse", "replace"]))
    if draw(st.booleans()):
        plain["run-state-after"] = draw(st.sampled_from(["as-before", "running", "paused"]))
    if draw(st.integers(0, 3)) == 0:
        key = draw(st.sampled_from([*plain, "unknown"]))
        plain[key] = draw(junk)
    if draw(st.integers(0, 5)) == 0:
        plain.pop(draw(st.sampled_from(sorted(plain))))
    return plain


@st.composite
def anything(draw):
    """Facts and a request over them, whatever it asks for."""
    facts = draw(machines(able=False))
    return facts, draw(any_request(facts))
