"""Fact 70: what an image is called."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import found, holds, same
from backends.qemu_facts.steps.images import (
    place,  # noqa: F401 - a resource
    shown,
)


@experiment()
@cases("said", ["preallocate", "backing", "nothing"])
def options_in_the_place_of_a_name(place, said):
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
    same(names["image"].startswith("json:{"), said != "nothing")
    found(str(path), names.values())


@experiment()
def a_long_name_is_cut_off(place):
    """At 4095 bytes: what was options is no JSON any more."""
    path = place.image("a.qcow2")
    nodes = ["-blockdev", f"driver=file,node-name=n0,filename={path}"]
    for number in range(1, 120):
        nodes += ["-blockdev", f"driver=preallocate,node-name=n{number},file=n{number - 1}"]
    place.start(*nodes, "-blockdev", "driver=qcow2,node-name=image,file=n119")
    name = shown(place)["image"]
    same(len(name), 4095)
    holds(name.endswith("..."))


if __name__ == "__main__":
    run_by_hand(globals())
