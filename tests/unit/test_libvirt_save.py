"""libvirt's header before a stream: what `virsh restore` reads in it, and how it is made."""

import asyncio
import hashlib
import os
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from attrs import evolve

from backends.domain.saves import begin_save
from backends.host import QemuHost
from planner.model.libvirt_save import (
    DESCRIPTOR_OF_A_SAVE,
    MAGIC,
    STREAM_BEGINS_BYTES,
    NotASave,
    begun,
    completed,
    is_whole,
    xml_of,
)
from planner.model.node_names import Chain
from planner.program.program import DESCRIPTOR_NAME
from planner.program.resolution import Transport
from planner.run.ports import CommandRefused, HostRefused
from planner.verify.proof import violations
from tests.unit.build import facts, plan, qcow2, raw, streamed, with_steps

DOMAIN = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <metadata><os:info xmlns:os='http://example.org/os'><os:of id='debian'/></os:info></metadata>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/><source file='/vm/a.qcow2'/>
      <backingStore type='file'><source file='/vm/old.qcow2'/></backingStore><target dev='vda'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw'/><source dev='/dev/b' index='3'/><target dev='vdb'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda'/></disk>
    <graphics type='vnc' passwd='secret'/>
  </devices>
  <qemu:commandline><qemu:arg value='-x'/></qemu:commandline>
</domain>"""
COOKIE = "<cookie><cpu/></cookie>"


def never(_one, _other):
    return False


def sources(header):
    found = ET.fromstring(xml_of(header)).iterfind("./devices/disk")  # noqa: S314 - the test's own
    return [
        (disk.get("type"), disk.find("driver").get("type"), dict(disk.find("source").attrib))
        for disk in found
        if disk.find("source") is not None
    ]


def test_the_header_is_libvirts():
    """Byte by byte where libvirt reads it; the stream begins where the header says."""
    header = completed(begun(DOMAIN, COOKIE, running=True), {}, never)
    magic, version, length, running, compression, cookie = struct.unpack_from("=16s5I", header)
    assert (magic, version, running, compression) == (MAGIC, 2, 1, 0)
    assert 16 + 19 * 4 + length == len(header) == STREAM_BEGINS_BYTES
    data = header[92:]
    assert data[:cookie].endswith(b"</domain>\0")
    assert data[cookie:].rstrip(b"\0").decode() == COOKIE
    without = completed(begun(DOMAIN, "", running=False), {}, never)
    assert struct.unpack_from("=16s5I", without)[3:] == (0, 0, 0)


def test_a_header_is_whole_only_when_the_stream_is():
    """libvirt refuses the other one."""
    header = begun(DOMAIN, "", running=True)
    assert header.startswith(b"LibvirtQemudPart")
    assert not is_whole(header)
    assert is_whole(completed(header, {}, never))
    for other in (b"", b"QEVM", header[:-1], b"\0" * STREAM_BEGINS_BYTES):
        assert not is_whole(other)
        with pytest.raises(NotASave):
            completed(other, {}, never)


def test_frozen_images_are_not_opened_by_a_restore():
    """Overlays that have yet to be made are; what else the description says stays."""
    header = completed(
        begun(DOMAIN, COOKIE, running=True),
        {"/vm/a.qcow2": "/vm/a.restored-1.qcow2", "/link/b": "/vm/b.restored-1.qcow2"},
        lambda one, other: (one, other) == ("/link/b", "/dev/b"),
    )
    assert sources(header) == [
        ("file", "qcow2", {"file": "/vm/a.restored-1.qcow2"}),
        ("file", "qcow2", {"file": "/vm/b.restored-1.qcow2"}),
    ]
    described = xml_of(header)
    assert "backingStore" not in described
    for kept in ("passwd", "secret", "<qemu:arg", 'cache="none"', "<os:of"):
        assert kept in described
    with pytest.raises(NotASave, match="no disk on /vm/other"):
        completed(begun(DOMAIN, "", running=True), {"/vm/other": "/x"}, never)


def test_a_description_that_has_no_room():
    with pytest.raises(NotASave, match="at most"):
        begun("x" * STREAM_BEGINS_BYTES, "", running=True)


class Described:
    """A domain that libvirt describes."""

    @staticmethod
    def ask(_command, _arguments, _files):
        return {"running": True}

    @staticmethod
    def description():
        return DOMAIN, COOKIE


def test_a_file_gets_its_header_first_and_completed_last(tmp_path):
    """QEMU writes behind it; the digest is of the whole file, as it is then."""
    host, where = QemuHost(), {"path": str(tmp_path / "s"), "temporary": str(tmp_path / ".s")}
    asyncio.run(host.do("create-stream", {**where, "libvirt": True}, 9.0))
    descriptor = host.descriptor(where["temporary"])
    begin_save(Described(), descriptor)
    os.write(descriptor, b"QEVM of QEMU's")
    opened = {"/vm/a.qcow2": "/vm/new.qcow2"}
    told = asyncio.run(host.do("keep-stream", {**where, "libvirt": opened}, 9.0))
    content = (tmp_path / "s").read_bytes()
    assert is_whole(content[:STREAM_BEGINS_BYTES])
    assert content[STREAM_BEGINS_BYTES:] == b"QEVM of QEMU's"
    assert sources(content)[0][2] == {"file": "/vm/new.qcow2"}
    assert told == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_a_file_without_a_header_gets_no_name(tmp_path):
    host, where = QemuHost(), {"path": str(tmp_path / "s"), "temporary": str(tmp_path / ".s")}
    asyncio.run(host.do("create-stream", {**where, "libvirt": True}, 9.0))
    os.write(host.descriptor(where["temporary"]), b"QEVM")
    with pytest.raises(HostRefused, match="shorter") as refused:
        asyncio.run(host.do("keep-stream", {**where, "libvirt": {}}, 9.0))
    assert refused.value.code == "save-header-wrong"
    assert not (tmp_path / "s").exists()
    with Path("/dev/full").open("wb") as full, pytest.raises(CommandRefused, match="header"):
        begin_save(Described(), full.fileno())


def through_libvirt(version):
    disks = [
        evolve(disk, node=f"@{disk.name}", chain=Chain.LIBVIRT, target=disk.name)
        for disk in (qcow2("disk0"), raw("vars0"))
    ]
    return plan(
        "auto",
        facts(*disks, version=version),
        streamed("stopped", "disk0", overlays=["vars0"]),
    ).program


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_a_program_through_libvirt_leaves_room_for_the_header(version):
    """Its stream is plain, and behind the header; without libvirt nothing of this is there."""
    program = through_libvirt(version)
    assert violations(program) == ()
    stream = program.resolution.stream
    assert (stream.libvirt, stream.mapped) == (True, False)
    [uri] = [step.arguments["uri"] for step in program.steps if step.execute == "migrate"]
    by_name = stream.transport is Transport.DESCRIPTOR
    assert uri.endswith(DESCRIPTOR_OF_A_SAVE if by_name else f",offset={STREAM_BEGINS_BYTES}")
    [keep] = [step.arguments for step in program.steps if step.execute == "keep-stream"]
    [overlay] = program.resolution.overlays
    assert list(keep["libvirt"]) == [overlay.base_file]


WRONG = {
    "the frozen image": ("keep-stream", {"libvirt": {"/vm/vars0.raw": "/vm/vars0.raw"}}),
    "the overlay in use": ("keep-stream", {"libvirt": {"/vm/vars0.raw": "/new/vars0"}}),
    "nothing": ("keep-stream", {"libvirt": {}}),
    "no header": ("add-fd", {"opaque": DESCRIPTOR_NAME}),
    "over the header": ("migrate", {"uri": "file:/dev/fdset/1"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_restore_by_libvirt_that_would_destroy_is_found(name):
    """By the proof of the program, whoever wrote it."""
    program = through_libvirt("10.0")
    execute, arguments = WRONG[name]
    overlay = program.resolution.overlays[0]
    told = {
        key: {overlay.base_file: overlay.path} if name == "the overlay in use" else value
        for key, value in arguments.items()
    }
    broken = [
        evolve(step, arguments={**step.arguments, **told}) if step.execute == execute else step
        for step in program.steps
    ]
    assert violations(with_steps(program, *broken)) != ()
