"""Fact 131: libvirt's node names shift with an overlay."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, same
from backends.qemu_facts.steps.domains import (
    commit,
    domain,  # noqa: F401 - a resource
    snapshot,
)


@experiment()
def an_overlay_gives_a_disk_another_node_name(domain):
    """What libvirt calls the device stays; after a block commit the old name is back."""
    [(before, base)] = domain.chain()
    overlay = domain.overlay(domain.daemon.folder / "by-libvirt.qcow2")
    snapshot(domain, "vda", overlay)
    try:
        (after, top), (below, under) = domain.chain()
        same((top, under), (str(overlay), base))
        differs(after, before)
        same((below, domain.sources()[0]), (before, str(overlay)))
    finally:
        commit(domain, "vda")
    same(domain.chain(), [(before, base)])


if __name__ == "__main__":
    run_by_hand(globals())
