"""What can be done without the VM, or is gone with it, is said when it is planned, on a real QEMU."""

import os

import pytest

from tests.live.own_lines import codes
from tests.live.runs import as_json, request_text, snapplan

pytestmark = pytest.mark.real_qemu


def drive(path, name="A", **more):
    options = "".join(f",{key}={value}" for key, value in more.items())
    return [
        *("-drive", f"if=none,id={name},file={path},format=qcow2{options}"),
        *("-device", f"virtio-blk-pci,drive={name},id=d-{name}"),
    ]


def plan(place, text):
    return snapplan("plan", "-", "--vm", place.path / "tool", "--json", text=text)


def warned(done):
    return [line for line in done.stdout.splitlines() if "warning: [image-" in line]


def needs_vm(place):
    [file] = (place.path / "store").glob("*/manifests/*.json")
    return as_json_file(file).get("needs-vm", [])


def as_json_file(path):
    class Read:
        stdout = path.read_text()

    return as_json(Read)


def test_what_lives_in_unlinked_files_is_refused(place):
    """`-snapshot`: before, the snapshot was "complete", and gone with the VM."""
    path = place.image("a.qcow2")
    place.start("-snapshot", *drive(path))
    refused = place.run("apply", "-", "--json", text=request_text("a", ["A"], "A"))
    assert (refused.returncode, codes(refused)) == (10, {("image-unlinked", "A")})
    text = f"tag: a\nmachine-state: none\ndisks: {{A: {{external: {place.path / 'o.qcow2'}}}}}"
    refused = place.run("apply", "-", "--json", text=text)
    assert ("image-unlinked", "A") in codes(refused)


def test_two_disks_of_one_image_are_refused(place):
    """By one name, by a link, and by a hard link; QEMU's locks can be turned off."""
    path = place.image("a.qcow2")
    (place.path / "link").symlink_to("a.qcow2")
    os.link(path, place.path / "hard")
    for other in (path, place.path / "link", place.path / "hard"):
        unlocked = {"file.locking": "off"}
        place.start(*drive(path, **unlocked), *drive(other, "B", **unlocked))
        refused = plan(place, request_text("a", ["A", "B"], "A"))
        assert (refused.returncode, codes(refused)) == (
            10,
            {("image-shared", "A"), ("image-shared", "B")},
        )


def mounts_of_its_own(place):
    """What QEMU's command line begins with, so that it sees a folder as /mnt."""
    how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    script = 'mount --bind "$0" /mnt && exec "$@"'
    return [*how, "sh", "-c", script, str(place.path / "images")]


def test_other_mounts_are_told_and_named_later(place):
    """Before, a delete said that the part was gone already, and forgot it."""
    (place.path / "images").mkdir()
    place.image("images/a.qcow2")
    place.start(*drive("/mnt/a.qcow2"), before=mounts_of_its_own(place))
    text = f"tag: o\nmachine-state: none\ndisks: {{A: {{external: {place.path / 'o.qcow2'}}}}}"
    refused = plan(place, text)
    assert codes(refused) == {("image-elsewhere", "A")}
    made = place.run("apply", "-", text=request_text("a", ["A"], "A"))
    assert made.returncode == 0, made.stderr
    assert "[image-elsewhere] A" in warned(made)[0]
    assert needs_vm(place) == [["A", "image-elsewhere"]]
    assert place.run("verify", "a").returncode == 0
    assert place.run("load", "a", "--yes").returncode == 0
    place.end()
    for words in (("verify", "a"), ("delete", "a", "--yes")):
        told = place.offline(*words)
        assert told.returncode != 0
        assert "image-elsewhere" in told.stdout + told.stderr
    assert place.tags("images/a.qcow2") == ["a"]
    moved = ("--moved", f"/mnt={place.path}/images")
    assert place.offline("verify", "a", *moved).returncode == 0
    assert place.offline("delete", "a", "--yes", *moved).returncode == 0
    assert place.tags("images/a.qcow2") == []


def by_descriptors(place, *numbers):
    """The image opened for each set, to write and to read, and the options that pass it."""
    opened, words = [], []
    for number in numbers:
        for flags in (os.O_RDWR, os.O_RDONLY):
            opened.append(os.open(place.path / "a.qcow2", flags))
            words += ["-add-fd", f"fd={opened[-1]},set={number}"]
    return opened, words


def close(opened):
    for descriptor in opened:
        os.close(descriptor)


def test_an_image_by_descriptor_is_known_by_its_file(place):
    """`-add-fd`, as libvirt passes images: `/dev/fdset/N` is a name for that QEMU alone (fact 110)."""
    path = place.image("a.qcow2")
    opened, sets = by_descriptors(place, 1)
    try:
        place.start(*sets, *drive("/dev/fdset/1"), descriptors=opened)
    finally:
        close(opened)
    made = place.run("apply", "-", text=request_text("a", ["A"], "A"))
    assert made.returncode == 0, made.stderr
    assert warned(made) == []
    assert needs_vm(place) == []
    assert place.run("load", "a", "--yes").returncode == 0
    place.start(*drive(path))  # another time by its name
    assert place.run("verify", "a").returncode == 0
    place.end()
    assert place.offline("delete", "a", "--yes").returncode == 0
    assert place.tags("a.qcow2") == []


def test_a_descriptor_whose_file_has_no_name_is_told(place):
    """Then it stays what QEMU calls it, and its part needs its VM until somebody says where it is."""
    path = place.image("a.qcow2")
    opened, sets = by_descriptors(place, 1)
    hidden = place.path / "hidden.qcow2"
    os.link(path, hidden)
    path.unlink()
    try:
        place.start(*sets, *drive("/dev/fdset/1"), descriptors=opened)
    finally:
        close(opened)
    made = place.run("apply", "-", text=request_text("a", ["A"], "A"))
    assert made.returncode == 0, made.stderr
    assert "[image-elsewhere] A" in warned(made)[0]
    place.end()
    assert place.offline("delete", "a", "--yes").returncode == 10
    moved = ("--moved", f"/dev/fdset/1={hidden}")
    assert place.offline("delete", "a", "--yes", *moved).returncode == 0
    assert place.tags("hidden.qcow2") == []


def test_two_sets_of_one_image_are_refused(place):
    """Each has a name of its own in QEMU; the file is one."""
    place.image("a.qcow2")
    opened, sets = by_descriptors(place, 1, 2)
    unlocked = {"file.locking": "off"}
    disks = (*drive("/dev/fdset/1", **unlocked), *drive("/dev/fdset/2", "B", **unlocked))
    try:
        place.start(*sets, *disks, descriptors=opened)
    finally:
        close(opened)
    refused = plan(place, request_text("a", ["A", "B"], "A"))
    assert codes(refused) == {("image-shared", "A"), ("image-shared", "B")}


@pytest.mark.long
def test_an_encrypted_image_is_verified_without_its_key_and_not_written_to(place):
    """`qemu-img info` needs no key; what writes does, and that is said before (fact 72)."""
    plain = place.image("p.qcow2")
    key = ("-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
    secret = place.image("a.qcow2", "--object", "secret,id=s,data=pw", *key)
    place.start(
        *("-object", "secret,id=s,data=pw"),
        *("-blockdev", f"driver=file,node-name=s0,filename={secret}"),
        *(
            "-blockdev",
            "driver=qcow2,node-name=f0,file=s0,encrypt.format=luks,encrypt.key-secret=s",
        ),
        *("-device", "virtio-blk-pci,drive=f0,id=d0"),
        *drive(plain, "P"),
    )
    made = place.run("apply", "-", text=request_text("a", ["f0", "P"], "P"))
    assert made.returncode == 0, made.stderr
    assert "[image-encrypted] f0" in warned(made)[0]
    assert needs_vm(place) == [["f0", "image-encrypted"]]
    place.end()
    verified = place.offline("verify", "a")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    refused = place.offline("delete", "a", "--yes", "--json")
    assert (refused.returncode, codes(refused)) == (10, {("image-encrypted", "f0")})
    assert place.tags("p.qcow2") == ["a"]


def test_a_plan_says_it_too(place):
    """Not only the run: plan prints the warning, with its code."""
    (place.path / "images").mkdir()
    place.image("images/a.qcow2")
    place.start(*drive("/mnt/a.qcow2"), before=mounts_of_its_own(place))
    planned = snapplan("plan", "-", "--vm", place.path / "tool", text=request_text("a", ["A"], "A"))
    assert planned.returncode == 0
    assert "[image-elsewhere] A" in planned.stdout


def test_a_header_that_names_another_chain_is_told(place):
    """libvirt gives the whole chain; a fresh QEMU would follow the header, to an image that is gone."""
    (place.path / "old").mkdir()
    base = place.image("old/base.qcow2")
    top = place.image("top.qcow2", "-b", str(base), "-F", "qcow2", size="")
    moved = base.rename(place.path / "base.qcow2")
    place.start(
        *(
            "-blockdev",
            f"driver=qcow2,node-name=b,file.driver=file,file.filename={moved},read-only=on",
        ),
        *("-blockdev", f"driver=qcow2,node-name=A,file.driver=file,file.filename={top},backing=b"),
        *("-device", "virtio-blk-pci,drive=A,id=d0"),
    )
    text = f"tag: a\nmachine-state: none\ndisks: {{A: {{external: {place.path / 'o.qcow2'}}}}}"
    made = place.run("apply", "-", text=text)
    assert made.returncode == 0, made.stderr
    assert "[image-header-differs] A" in warned(made)[0]
    assert needs_vm(place) == [["A", "image-header-differs"]]
    place.end()
    refused = place.offline("load", "a", "--yes", "--json")
    assert ("chain-differs", "A") in codes(refused)
