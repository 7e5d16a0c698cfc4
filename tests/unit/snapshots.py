"""A small VM that holds a whole snapshot, and its manifest: what checks are tried on."""

from attrs import evolve

from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.part_image import images_of_vm
from tests.unit.build import facts, held, qcow2

TAG = "a"


def snapshot_on(name, **more):
    """A disk that holds the snapshot's part beside another snapshot."""
    state = 99 if name == "disk0" else 0
    part = held(TAG, "2", vm_clock_ns=7, vm_state_size_bytes=state)
    return qcow2(name, snapshots=(held("other", "1", vm_clock_ns=5), part), **more)


def vm(*disks, **more):
    return facts(*(disks or (snapshot_on("disk0"), snapshot_on("disk1"))), **more)


def part(disk):
    (own,) = [s for s in disk.snapshots if (s.name, s.id) == (TAG, "2")]
    return InternalSnapshot(
        disk=disk.name,
        qdev=disk.qdev,
        node=disk.node,
        root=disk.root,
        file=disk.filename,
        format=disk.driver,
        snapshot_id=own.id,
        vm_clock_ns=own.vm_clock_ns,
        vm_state_size_bytes=own.vm_state_size_bytes,
        virtual_size_bytes=disk.virtual_size_bytes,
    )


def manifest(of=None, **more):
    of = of or vm()
    fields = {
        "tag": TAG,
        "design": "transactional",
        "program_digest": "0" * 64,
        "qemu": of.qemu,
        "machine": of.machine,
        "parts": tuple(part(disk) for disk in of.disks),
        "target": of.target,
        "vm": of.vm_uuid or of.vm_name,
        "devices": tuple((disk.name, disk.qdev) for disk in of.disks),
    }
    return Manifest(**(fields | more))


def images(of):
    return images_of_vm(of, {})


def with_disk(of, name, **changes):
    """The VM with one disk changed."""
    disks = tuple(evolve(d, **changes) if d.name == name else d for d in of.disks)
    return evolve(of, disks=disks)


def codes(problems):
    return {(problem.code, problem.subject) for problem in problems}
