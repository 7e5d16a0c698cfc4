"""Fact 138: `virsh restore` takes a plain stream behind the header of libvirt's save format."""

import struct

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.steps.domains import domain  # noqa: F401 - a resource

MAGIC_BYTES, LENGTH_AT, HEADER_BYTES = 16, 20, 16 + 19 * 4
WHOLE, PART = b"LibvirtQemudSave", b"LibvirtQemudPart"


@experiment(slow=True)
def a_save_is_taken_when_its_header_says_that_it_is_whole(domain):
    """Also with zeros behind the description; not while the magic says that something is missing."""
    daemon, other = domain.daemon, domain.daemon.domain("saved", disks=1)
    other.wait_guest()
    file = daemon.folder / "saved"
    daemon.virsh("save", "saved", file)
    moved = longer(file.read_bytes())
    file.write_bytes(PART + moved[MAGIC_BYTES:])
    same(daemon.virsh("restore", file, may_fail=True), None)
    file.write_bytes(WHOLE + moved[MAGIC_BYTES:])
    daemon.virsh("restore", file)
    other.wait_guest()


def longer(content, zeros=4096):
    """The same save with zeros between its description and its stream."""
    (length,) = struct.unpack_from("=I", content, LENGTH_AT)
    stream = HEADER_BYTES + length
    told = struct.pack("=I", length + zeros)
    header = content[:LENGTH_AT] + told + content[LENGTH_AT + len(told) : stream]
    return header + bytes(zeros) + content[stream:]


if __name__ == "__main__":
    run_by_hand(globals())
