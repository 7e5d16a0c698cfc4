"""Facts about QEMU behind libvirt."""

import struct
import time
from pathlib import Path

import pytest

from backends.domain.address import parse_address
from backends.domain.bindings import bindings
from backends.domain.link import Link
from backends.domain.pivots import numbers_at_start
from tests.support.libvirt import libvirtd


@pytest.fixture(scope="module")
def domain():
    with libvirtd() as daemon:
        yield daemon.domain()


def test_fact_130_events_come_before_the_next_answer(domain):
    """Every event that QEMU sent before a reply is there after one more question."""
    heard = []
    link = Link(bindings(), parse_address(domain.address), heard.append, print)
    try:
        for number in range(1, 21):
            for command, event in (("stop", "STOP"), ("cont", "RESUME")):
                link.ask(command, {}, ())
                assert [each["event"] for each in heard].count(event) == number
    finally:
        link.close()


def test_fact_131_libvirts_node_names_shift(domain):
    """An overlay of libvirt's gives a disk another node name; what it calls the device stays."""
    (before, base), *_ = domain.chain()
    overlay = domain.overlay(domain.daemon.folder / "by-libvirt.qcow2")
    spec = f"vda,snapshot=external,file={overlay}"
    words = ("--disk-only", "--reuse-external", "--no-metadata", "--atomic", "--diskspec")
    domain.daemon.virsh(
        "snapshot-create-as", domain.name, *words, spec, "--diskspec", "vdb,snapshot=no"
    )
    try:
        (after, top), (below, under) = domain.chain()
        assert (top, under) == (str(overlay), base)
        assert after != before == below
        assert domain.sources()[0] == str(overlay)
    finally:
        domain.daemon.virsh("blockcommit", domain.name, "vda", "--active", "--pivot", "--wait")
    assert domain.chain() == [(before, base)]


def test_fact_132_libvirt_does_not_know_of_an_overlay_behind_its_back(domain):
    """The guest writes to the overlay; the domain's next start is from the image under it."""
    overlay = domain.overlay(domain.daemon.folder / "behind.qcow2")
    empty = overlay.stat().st_blocks
    file = {"driver": "file", "filename": str(overlay)}
    domain.qmp(
        "blockdev-add", **{"driver": "qcow2", "node-name": "behind", "file": file, "backing": None}
    )
    [(node, base)] = domain.chain()
    domain.qmp("blockdev-snapshot", node=node, overlay="behind")
    deadline = time.monotonic() + 60
    while overlay.stat().st_blocks == empty:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert domain.sources()[0] == base
    domain.daemon.virsh("destroy", domain.name)
    domain.daemon.virsh("start", domain.name)
    assert [file for _, file in domain.chain()] == [base]


@pytest.mark.long
def test_fact_138_a_save_is_taken_when_its_header_says_that_it_is_whole(domain):
    """Also with zeros behind the description; not while the magic says that something is missing."""
    daemon, other = domain.daemon, domain.daemon.domain("saved", disks=1)
    other.wait_guest()
    file = daemon.folder / "saved"
    daemon.virsh("save", "saved", file)
    content = file.read_bytes()
    (length,) = struct.unpack_from("=I", content, 20)
    longer = struct.pack("=I", length + 4096)
    stream = 16 + 19 * 4 + length
    moved = content[:20] + longer + content[24:stream] + bytes(4096) + content[stream:]
    file.write_bytes(b"LibvirtQemudPart" + moved[16:])
    assert daemon.virsh("restore", file, may_fail=True) is None
    file.write_bytes(b"LibvirtQemudSave" + moved[16:])
    daemon.virsh("restore", file)
    other.wait_guest()


def test_fact_139_a_disk_that_is_attached_anew_has_another_number(domain):
    """Also on the same image; after a block commit the image under the overlay has its old one."""
    other = domain.daemon.domain("anew", bus="scsi")  # whose guest is not asked before a disk goes
    link = Link(bindings(), parse_address(other.address), print, print)
    image, line = str(other.disks[1]), Path(f"/proc/{other.pid}/cmdline").read_text()
    try:
        number = link.number_of(image)
        assert [*numbers_at_start(line, image)] == [number]
        overlay = other.overlay(other.daemon.folder / "anew-overlay.qcow2", 1)
        link.snapshot({"sdb": str(overlay)})
        assert link.number_of(image) == ""
        other.daemon.virsh("blockcommit", "anew", "sdb", "--active", "--pivot", "--wait")
        assert link.number_of(image) == number
        other.daemon.virsh("detach-disk", "anew", "sdb")
        how = ("--targetbus", "scsi", "--subdriver", "qcow2")
        other.daemon.virsh("attach-disk", "anew", image, "sdb", *how)
        assert link.number_of(image) not in ("", number)
    finally:
        link.close()
