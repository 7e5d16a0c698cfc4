"""VMs on command lines of their own, and what they call their images."""

from pathlib import Path

from backends.qemu_facts.lab.experiment import resource
from backends.qemu_facts.lab.own_lines import folder


@resource()
def place():
    with folder() as made:
        yield made


def shown(place):
    nodes = place.qmp.execute("query-named-block-nodes", flat=True)
    return {node["node-name"]: node["image"]["filename"] for node in nodes}


def opened(place):
    """What the process has open, by the kernel's names."""
    descriptors = Path(f"/proc/{place.process.pid}/fd").iterdir()
    return {str(descriptor.readlink()): descriptor.stat() for descriptor in descriptors}
