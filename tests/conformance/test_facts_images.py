"""Facts 70 on: what QEMU calls an image, and who has one open."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.live.own_lines import folder
from tests.support.qemu import qemu_img_binary

pytestmark = pytest.mark.real_qemu

_GONE = " (deleted)"


@pytest.fixture
def place():
    with folder() as made:
        yield made


def shown(place):
    nodes = place.qmp.execute("query-named-block-nodes", flat=True)
    return {node["node-name"]: node["image"]["filename"] for node in nodes}


@pytest.mark.parametrize("said", ["preallocate", "backing", "nothing"])
def test_fact_70_options_in_the_place_of_a_name(place, said):
    """An image is shown as `json:{…}` where more was said than its file; the node below has the file."""
    path, base = place.image("a.qcow2"), place.image("base.qcow2")
    below = {"preallocate": "driver=preallocate,file.driver=file,file.filename="}
    file = below.get(said, "driver=file,filename=")
    backing = ",backing=base" if said == "backing" else ""
    place.start(
        *("-blockdev", f"driver=qcow2,node-name=base,file.driver=file,file.filename={base}"),
        *("-blockdev", f"{file}{path},node-name=below"),
        *("-blockdev", f"driver=qcow2,node-name=image,file=below{backing}"),
    )
    names = shown(place)
    assert names["image"].startswith("json:{") is (said != "nothing")
    assert str(path) in names.values()


def test_fact_70_a_long_name_is_cut_off(place):
    """At 4095 bytes: what was options is no JSON any more."""
    path = place.image("a.qcow2")
    nodes = ["-blockdev", f"driver=file,node-name=n0,filename={path}"]
    for number in range(1, 120):
        nodes += ["-blockdev", f"driver=preallocate,node-name=n{number},file=n{number - 1}"]
    place.start(*nodes, "-blockdev", "driver=qcow2,node-name=image,file=n119")
    name = shown(place)["image"]
    assert len(name) == 4095
    assert name.endswith("...")


def opened(place):
    """What the process has open, by the kernel's names."""
    descriptors = Path(f"/proc/{place.process.pid}/fd").iterdir()
    return {str(descriptor.readlink()): descriptor.stat() for descriptor in descriptors}


def test_fact_71_relative_names_and_the_files_that_are_open(place):
    """The name is as it was given; the process has the very file open."""
    path = place.image("a.qcow2")
    place.start("-drive", "if=none,id=A,file=./a.qcow2,format=qcow2")
    assert "./a.qcow2" in shown(place).values()
    assert any(os.path.samestat(found, path.stat()) for found in opened(place).values())


def test_fact_71_files_of_snapshot_have_no_name(place):
    """`-snapshot` puts an overlay over each disk, in a file that is unlinked at once."""
    path = place.image("a.qcow2")
    place.start("-snapshot", "-drive", f"if=none,id=A,file={path},format=qcow2")
    gone = [Path(name.removesuffix(_GONE)) for name in opened(place) if name.endswith(_GONE)]
    [file] = [name for name in shown(place).values() if Path(name).name in {g.name for g in gone}]
    assert Path(file).name.startswith("vl.")
    assert not any(path.exists() for path in gone)


def test_fact_110_an_image_by_descriptor_and_what_the_process_has_open(place):
    """The set's descriptors and one more are of the file; with the set's gone the node's is left."""
    path = place.image("a.qcow2")
    passed = [os.open(path, flags) for flags in (os.O_RDWR, os.O_RDONLY)]
    try:
        sets = [word for fd in passed for word in ("-add-fd", f"fd={fd},set=7")]
        place.start(
            *sets,
            *("-drive", "if=none,id=A,file=/dev/fdset/7,format=qcow2"),
            descriptors=passed,
        )
    finally:
        for descriptor in passed:
            os.close(descriptor)
    assert "/dev/fdset/7" in shown(place).values()
    folder = Path(f"/proc/{place.process.pid}/fd")

    def ours():
        return {int(each.name) for each in folder.iterdir() if each.samefile(path)}

    [told] = place.qmp.execute("query-fdsets")
    listed = {each["fd"] for each in told["fds"]}
    assert (told["fdset-id"], len(listed)) == (7, 2)
    assert listed < ours()
    place.qmp.execute("remove-fd", **{"fdset-id": 7})
    assert ours()
    assert [each["fdset-id"] for each in place.qmp.execute("query-fdsets")] == [7]


def qemu_img(*words):
    return subprocess.run([qemu_img_binary(), *words], capture_output=True, text=True, check=False)


def test_fact_72_what_an_encrypted_image_shows_without_its_key(place):
    """Its snapshots, to `info` and to nobody else."""
    key = place.path / "key"
    key.write_text("pw")
    path = place.image(
        "a.qcow2",
        *("--object", f"secret,id=k,file={key}"),
        *("-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"),
    )
    image = f"driver=qcow2,file.driver=file,file.filename={path},encrypt.key-secret=k"
    opened = ("--object", f"secret,id=k,file={key}", "--image-opts", image)
    assert qemu_img("snapshot", "-c", "a", *opened).returncode == 0
    told = json.loads(qemu_img("info", "--output=json", "-f", "qcow2", str(path)).stdout)
    assert [snapshot["name"] for snapshot in told["snapshots"]] == ["a"]
    for words in (("snapshot", "-l"), ("snapshot", "-d", "a"), ("check", "-f", "qcow2")):
        refused = qemu_img(*words, str(path))
        assert refused.returncode != 0
        assert "'encrypt.key-secret' is required" in refused.stderr
    (place.path / "wrong").write_text("not it")
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}}
    node["encrypt"] = {"format": "luks", "key-secret": "k"}
    delete = ("snapshot", "-d", "a", "--object")
    wrong = qemu_img(
        *delete, f"secret,id=k,file={place.path / 'wrong'}", f"json:{json.dumps(node)}"
    )
    assert "Invalid password, cannot unlock any keyslot" in wrong.stderr
    done = qemu_img(*delete, f"secret,id=k,file={key}", f"json:{json.dumps(node)}")
    assert done.returncode == 0, done.stderr
