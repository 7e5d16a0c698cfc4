"""Fact 134: a QEMU says where it is connected to a daemon."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.steps.daemons import client, serving  # noqa: F401 - resources


@experiment()
def a_chardev_by_its_address(client, serving):
    """`qom-get` has the path, also where `query-chardev` of 7.2 has none."""
    path = str(serving.vhost_path("disk1"))
    named = client.execute("qom-get", path="/machine/peripheral/vud0", property="chardev")
    address = client.execute("qom-get", path=f"/chardevs/{named}", property="addr")
    same((named, address["type"], address["path"]), ("served", "unix", path))
    [shown] = [c["filename"] for c in client.execute("query-chardev") if c["label"] == named]
    same(shown, f"unix:{path}" if client.version >= (8, 0) else "unix:")


@experiment()
def a_node_by_its_uri(client, serving):
    """Without escapes."""
    same(client.nodes()["remote"]["file"], f"nbd+unix:///data?socket={serving.nbd_path}")


if __name__ == "__main__":
    run_by_hand(globals())
