"""Fact 135: the kernel knows both ends of a daemon's connection."""

from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds
from backends.qemu_facts.lab.sockets import connected_sockets
from backends.qemu_facts.steps.daemons import client, serving  # noqa: F401 - resources

KIND = "socket:["


@experiment()
def what_the_daemon_accepted_has_a_peer_of_qemus(client, serving):
    """It is bound to the export's socket, and the other end is a socket of QEMU's process."""
    links = [str(each.readlink()) for each in Path(f"/proc/{client.process.pid}/fd").iterdir()]
    owned = {int(link[len(KIND) : -1]) for link in links if link.startswith(KIND)}
    names = {name for name, peer in connected_sockets() if peer in owned}
    holds(names >= {str(serving.vhost_path("disk1")), str(serving.nbd_path)}, "both are there")


if __name__ == "__main__":
    run_by_hand(globals())
