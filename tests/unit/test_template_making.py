"""What is decided before a template is made, and what of the host's it touches."""

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from backends.host import QemuHost
from planner.host.ending import end_process
from planner.host.evidence import digest_of
from planner.host.processes import lives, process_of
from planner.model.facts import QemuVersion
from planner.model.hardware import Hardware
from planner.model.peripherals import Device
from planner.parts.manifest_text import read_manifest
from planner.parts.overlay import FrozenImage
from planner.run.ports import HostRefused
from planner.template.making_plan import (
    encrypted_problems,
    memory_of,
    memory_problems,
    plan_making,
)
from planner.template.unfit import unfit_devices

BEFORE = Path(__file__).with_name("manifest_of_before.json").read_text()
PLAIN = ("qemu-system-x86_64", "-m", "256M")


def manifest(*backends, **more):
    hardware = Hardware(memory_backends=backends) if backends else None
    return evolve(read_manifest(BEFORE), hardware=hardware, memory_bytes=1 << 28, **more)


def codes(problems):
    return [problem.code for problem in problems]


def object_of(name, size="128M", kind="ram"):
    return ("-object", f"memory-backend-{kind},id={name},size={size}")


def test_memory_of_the_machine_type_has_the_recorded_id_and_size():
    assert codes(memory_problems(manifest("pc.ram"), PLAIN)) == []
    assert memory_of(manifest("pc.ram"), PLAIN) == (("pc.ram", 1 << 28),)


def test_memory_objects_of_the_line_have_the_sizes_of_the_line():
    line = (*PLAIN, *object_of("m0"), *object_of("m1", "0" + str(1 << 27)))
    assert codes(memory_problems(manifest("m0", "m1"), line)) == []
    assert memory_of(manifest("m0", "m1"), line) == (("m0", 1 << 27), ("m1", 1 << 27))


@pytest.mark.parametrize(
    ("backends", "line"),
    [
        ((), PLAIN),
        (("pc.ram",), (*PLAIN, *object_of("other"))),
        (("m0", "m1"), PLAIN),
        (("m0",), (*PLAIN, *object_of("m0", kind="epc"))),
        (("m0",), (*PLAIN, *object_of("m0", "some"))),
    ],
    ids=["not recorded", "unknown", "two not on the line", "of a kind without file", "no size"],
)
def test_memory_that_no_file_can_stand_for_is_refused_before_anything_starts(backends, line):
    assert codes(memory_problems(manifest(*backends), line)) == ["template-memory"]


@pytest.mark.parametrize(
    ("kind", "version", "fit"),
    [
        ("virtio-balloon-pci", (7, 2, 22), False),
        ("virtio-balloon-pci", (8, 2, 0), True),
        ("virtio-mem-pci", (11, 1, 0), False),
        ("vhost-user-fs-pci", (11, 1, 0), False),
        ("ivshmem-plain", (10, 0, 0), False),
        ("virtio-blk-pci", (7, 2, 22), True),
    ],
)
def test_devices_that_would_tear_what_clones_share_are_refused(kind, version, fit):
    """A balloon punches holes into the file before 8.2, virtio-mem always (fact 83)."""
    problems = unfit_devices([Device("d0", kind)], QemuVersion(*version))
    assert codes(problems) == ([] if fit else ["template-device"])


def test_every_disk_of_the_maker_is_a_throw_away_overlay_and_every_name_has_the_token():
    """A frozen image is a base, what is inside an image is copied; the VM's own overlay is not used."""
    plan = plan_making(manifest("pc.ram"), "/t/", "00c0ffee", [("pc.ram", 1 << 28)])
    assert all(isinstance(part, FrozenImage) for part in plan.restore.manifest.disk_parts)
    overlays = [disk.file for disk in plan.restore.disks]
    assert all(".template-00c0ffee." in file for file in plan.files)
    assert {Path(file).parent for file in plan.files} == {Path("/t")}
    own = {plan.state, *(each.file for each in (*plan.memory, *plan.copies))}
    assert not [file for file in {*plan.files} - own if not Path(file).name.startswith(".")]
    assert {*overlays, *plan.throw_away}.isdisjoint(own)
    assert [part.file for part in plan.restore.manifest.disk_parts][1] == (
        manifest().of(FrozenImage)[0].file
    )


def test_an_encrypted_disk_inside_an_image_is_not_copied():
    """The copy would hold in the clear what is encrypted; a disk under an overlay is not copied."""
    locked = manifest(needs_vm=(("disk0", "image-encrypted"),))
    assert codes(encrypted_problems(locked)) == ["template-encrypted"]
    other = locked.of(FrozenImage)[0].disk
    assert codes(encrypted_problems(evolve(locked, needs_vm=((other, "image-encrypted"),)))) == []


@pytest.mark.parametrize("layout", [b"\0\0d\0", b"d\0\0d", b"\0\0\0\0", b"dddd", b"d\0d\0"])
def test_the_digest_of_a_file_with_holes_is_that_of_its_zeros(tmp_path, layout):
    """As `sha256sum` has it, and the offset of the descriptor stays."""
    path, block = tmp_path / "ram", 1 << 20
    with path.open("wb") as file:
        for number, kind in enumerate(layout):
            if kind:
                file.seek(number * block)
                file.write(os.urandom(block - 7))
        file.truncate(len(layout) * block + 5)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.lseek(descriptor, 3, os.SEEK_SET)
        assert digest_of(descriptor) == hashlib.sha256(path.read_bytes()).hexdigest()
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 3
    finally:
        os.close(descriptor)


def do(instruction, path, **more):
    return asyncio.run(QemuHost().do(instruction, {"path": str(path), **more}, 60.0))


def test_memory_is_private_from_its_first_byte_and_named_when_it_is_whole(tmp_path):
    """Sparse, 0600; nothing is replaced; what nobody wrote to is no memory."""
    path, temporary = tmp_path / "ram", tmp_path / ".ram.snapplan"
    keep = {"temporary": str(temporary), "mode": 0o600, "empty-too": False}
    do("create-memory", temporary, size=1 << 20, like=__file__)
    assert temporary.stat().st_mode & 0o777 == 0o600
    assert (temporary.stat().st_size, temporary.stat().st_blocks) == (1 << 20, 0)
    with pytest.raises(HostRefused, match="wrote nothing"):
        do("keep-made", path, **keep)
    with temporary.open("r+b") as file:
        file.write(b"memory")
    told = do("keep-made", path, **keep)
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not temporary.exists()
    temporary.write_bytes(b"another")
    with pytest.raises(HostRefused):
        do("keep-made", path, **keep)
    assert path.read_bytes().startswith(b"memory")


def test_what_somebody_has_open_is_neither_named_nor_removed(tmp_path):
    """A QEMU that still writes to it would make the digest a lie."""
    path, temporary = tmp_path / "ram", tmp_path / ".ram.snapplan"
    temporary.write_bytes(b"memory")
    command = [
        sys.executable,
        "-c",
        "import sys; f = open(sys.argv[1]); print(1, flush=True); input()",
    ]
    with subprocess.Popen(
        [*command, temporary], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        keep = {"temporary": str(temporary), "mode": 0o600, "empty-too": False}
        for instruction, which, more in (("keep-made", path, keep), ("remove-made", temporary, {})):
            with pytest.raises(HostRefused, match="is open in process") as refused:
                do(instruction, which, **more)
            assert refused.value.code == "image-in-use"
        other.communicate(b"\n", 20)
    assert do("remove-made", temporary) == {"removed": True}
    assert do("remove-made", temporary) == {"removed": False}


def test_only_the_very_process_is_ended():
    """One of its id that started at another moment is another one, and lives on."""
    with subprocess.Popen(["sleep", "60"]) as process:
        known = process_of(process.pid)
        assert end_process(evolve(known, started_ticks=known.started_ticks - 1))
        assert process.poll() is None
        assert end_process(known)
        process.wait(20)
    assert lives(known) is False
    assert process.returncode == -15
