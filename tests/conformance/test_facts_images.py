"""Facts 70 on: what QEMU calls an image, and who has one open."""

import pytest

from tests.live.own_lines import folder

pytestmark = pytest.mark.real_qemu


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
