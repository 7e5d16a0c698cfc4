"""Generated VMs and requests: every kind of disk, and requests that fit them or do not."""

import functools
import json
from pathlib import Path

from attrs import evolve
from hypothesis import strategies as st

from planner.model.facts import Bitmap, ChainNode, Disk, Facts, JobInfo, QemuVersion, SnapshotInfo
from planner.model.request import (
    Capture,
    Copy,
    CopyFormat,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    ImageMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    Request,
    RunStateAfter,
)

TAG = "new"
VERSIONS = {"7.2": (7, 2, 22), "10.0": (10, 0, 13), "11.1": (11, 1, 3)}
MOST_DISKS = 40


@functools.cache
def schema(version):
    """What the facts of a QEMU of this version hold of its QMP schema."""
    return tuple(json.loads(Path(f"tests/data/schema-{version}.json").read_text()))


def qcow2(name, number, **more):
    return Disk(
        name,
        more.pop("node", name),
        more.pop("root", name),
        "qcow2",
        qdev=f"/machine/peripheral/dev{number}/virtio-backend",
        filename=f"/vm/{name}.qcow2",
        **more,
    )


def snapshots(tags):
    return tuple(
        SnapshotInfo(str(number), tag, vm_clock_ns=number)
        for number, tag in enumerate(tags, start=1)
    )


KINDS = {
    "qcow2": qcow2,
    "filtered": lambda name, number, **more: qcow2(
        name,
        number,
        root=f"{name}-throttle",
        filters=(ChainNode(f"{name}-throttle", "throttle"),),
        **more,
    ),
    "backed": lambda name, number, **more: qcow2(
        name, number, backing=(ChainNode(f"{name}-base", "qcow2"),), below=(f"{name}-file",), **more
    ),
    "drive": lambda name, number, **more: qcow2(
        name, number, node=f"@{name}", root=name, drive_id=name, **more
    ),
    "raw": lambda name, number, **more: evolve(qcow2(name, number, **more), driver="raw"),
    "read-only": lambda name, number, **more: evolve(qcow2(name, number, **more), read_only=True),
    "data-file": lambda name, number, **more: evolve(qcow2(name, number, **more), data_file=True),
    "unattached": lambda name, number, **more: evolve(qcow2(name, number, **more), qdev=""),
    "bitmap": lambda name, number, **more: qcow2(
        name, number, bitmaps=(Bitmap("b", True),), **more
    ),
    "inactive": lambda name, number, **more: evolve(qcow2(name, number, **more), active=False),
    "busy": lambda name, number, **more: qcow2(name, number, users=("mirror0",), **more),
}
GOOD_KINDS = ("qcow2", "filtered", "backed", "drive", "bitmap", "raw", "read-only", "unattached")


@st.composite
def disks(draw, kinds=tuple(KINDS), tags=((), (), ("old",), ("old", TAG), (TAG,)), most=MOST_DISKS):
    count = draw(st.integers(0, most))
    return tuple(
        KINDS[draw(st.sampled_from(kinds))](
            f"disk{number:02}", number, snapshots=snapshots(draw(st.sampled_from(tags)))
        )
        for number in range(count)
    )


@st.composite
def vms(draw, all_disks=None, run_states=("running", "paused"), **more):
    version = draw(st.sampled_from(sorted(VERSIONS)))
    return Facts(
        QemuVersion(*VERSIONS[version]),
        "pc-i440fx-7.2",
        draw(st.sampled_from(run_states)),
        draw(all_disks if all_disks is not None else disks()),
        target="x86_64",
        schema=schema(version),
        **more,
    )


def capable(disk):
    return disk.driver == "qcow2" and not (disk.read_only or disk.data_file) and disk.active


@st.composite
def fitting(draw, external=False):
    """A VM and a request that it can do (with `external`: whose graph can be built)."""
    facts = draw(vms(disks(GOOD_KINDS, tags=((), ("old",)))))
    wishes = []
    for disk in facts.disks:
        options = [Exclude()]
        if capable(disk):
            options += [Internal(), Internal(), Internal()]
        if external:
            options.append(External(f"/vm/{disk.name}.overlay"))
            if not disk.read_only:
                options.append(Copy(f"/vm/{disk.name}.copy", draw(st.sampled_from(CopyFormat))))
        name = draw(st.sampled_from(disk.names))
        wishes.append((name, draw(st.sampled_from(options)), disk))
    internal = [name for name, wish, _ in wishes if isinstance(wish, Internal)]
    states = [NoMachineState()] + [InternalMachineState(name) for name in internal[:3]]
    if external:
        states += [ExternalMachineState("/vm/state", capture) for capture in Capture]
        states.append(ImageMachineState("/vm/state"))
    request = Request(
        TAG,
        draw(st.sampled_from(states)),
        tuple((name, wish) for name, wish, _ in wishes),
        run_state_after=draw(st.sampled_from(list(RunStateAfter))),
    )
    return facts, request


@st.composite
def replacing(draw):
    """A fitting VM and request in which some disks hold the tag, and are to give it up."""
    facts = draw(vms(disks(("qcow2", "drive"), tags=((), ("old", TAG), (TAG, TAG)))))
    wishes = tuple((disk.name, Internal()) for disk in facts.disks)
    state = InternalMachineState(wishes[0][0]) if wishes else NoMachineState()
    return facts, Request(TAG, state, wishes, existing_tag=ExistingTag.REPLACE)


@st.composite
def anything(draw):
    """A VM and a request that may fit or not, in any of many ways."""
    facts = draw(
        vms(
            run_states=("running", "running", "paused", "postmigrate", "io-error"),
            migration=draw(st.sampled_from(["", "", "completed", "active"])),
            blocked_reasons=draw(st.sampled_from([(), (), ("VFIO device",)])),
            jobs=draw(st.sampled_from([(), (), (JobInfo("j", "snapshot-save", "running"),)])),
        )
    )
    known = sorted({name for disk in facts.disks for name in disk.names}) or ["disk00"]
    names = st.sampled_from([*known, "nothing", "disk00-base", "disk00-file"])
    wishes = draw(
        st.dictionaries(
            names, st.sampled_from([Internal(), Internal(), Exclude(), External("/x")]), max_size=45
        )
    )
    state = draw(
        st.one_of(
            st.just(NoMachineState()),
            names.map(InternalMachineState),
            st.just(ExternalMachineState("/x", Capture.LIVE)),
        )
    )
    request = Request(
        TAG,
        state,
        tuple(wishes.items()),
        others=draw(st.sampled_from(list(Others))),
        existing_tag=draw(st.sampled_from(list(ExistingTag))),
        run_state_after=draw(st.sampled_from(list(RunStateAfter))),
    )
    return facts, request
