"""Fact 132: libvirt does not know of an overlay that another client puts on a disk."""

import time

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.steps.domains import domain  # noqa: F401 - a resource

DEADLINE_S = 60.0


@experiment()
def the_next_start_is_from_the_image_under_it(domain):
    """The guest has written to the overlay, and libvirt goes on naming the image."""
    overlay = domain.overlay(domain.daemon.folder / "behind.qcow2")
    empty = overlay.stat().st_blocks
    file = {"driver": "file", "filename": str(overlay)}
    tree = {"driver": "qcow2", "node-name": "behind", "file": file, "backing": None}
    domain.qmp("blockdev-add", **tree)
    [(node, base)] = domain.chain()
    domain.qmp("blockdev-snapshot", node=node, overlay="behind")
    deadline = time.monotonic() + DEADLINE_S
    while overlay.stat().st_blocks == empty:
        holds(time.monotonic() < deadline, "the guest writes to the overlay")
        time.sleep(0.02)
    same(domain.sources()[0], base)
    domain.daemon.virsh("destroy", domain.name)
    domain.daemon.virsh("start", domain.name)
    same([file for _, file in domain.chain()], [base])


if __name__ == "__main__":
    run_by_hand(globals())
