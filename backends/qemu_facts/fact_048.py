"""Fact 48: how the child of a filter is shown."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, missing, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def filter_in_blockstats_is_parent_and_backing(target):
    """The child of a node is its `parent` there; a filter's child is its `backing` as well."""
    vm = target.start(two_disks(DiskKind.FILTERED, DiskKind.BACKED))
    shown = {stats["node-name"]: stats for stats in vm.execute("query-blockstats")}
    same(shown["disk1"]["parent"]["node-name"], "disk1-format")
    same(shown["disk1"]["backing"]["node-name"], "disk1-format")
    same(shown["disk1"]["parent"]["parent"]["node-name"], "disk1-file")
    missing("backing", shown["disk0"])
    same(shown["disk2"]["parent"]["node-name"], "disk2-file")
    same(shown["disk2"]["backing"]["node-name"], "disk2-backing")


@experiment()
def block_graph_names_every_edge(target):
    """x-debug-query-block-graph gives nodes and named edges: filters without guessing."""
    vm = target.start(two_disks(DiskKind.FILTERED))
    graph = vm.execute("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    edges = {(names[e["parent"]], e["name"], names[e["child"]]) for e in graph["edges"]}
    found(("disk1", "file", "disk1-format"), edges)
    found(("disk1-format", "file", "disk1-file"), edges)
    found(("/machine/peripheral/disk1-device/virtio-backend", "root", "disk1"), edges)


if __name__ == "__main__":
    run_by_hand(globals())
