"""Fact 121: a daemon's disks show in `query-block-exports` only."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.daemon import DISKS
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.steps.daemons import daemon  # noqa: F401 - a resource


@experiment()
def its_disks_are_exports(daemon):
    """`query-block` and `query-blockstats` are empty."""
    same(daemon.qmp.execute("query-block"), [])
    same(daemon.qmp.execute("query-blockstats"), [])
    same(daemon.exported(), {f"{disk}-export": disk for disk in DISKS})


@experiment()
def statistics_leave_out_what_lies_below_a_backing_link(daemon):
    """The graph has every edge."""
    daemon.add_overlay("over")
    daemon.qmp.execute("blockdev-snapshot", node="data", overlay="over")
    found = daemon.qmp.execute("query-blockstats", {"query-nodes": True})
    holds("backing" not in {each["node-name"]: each for each in found}["over"], "no backing link")
    graph = daemon.qmp.execute("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    edges = {(names[e["parent"]], e["name"], names[e["child"]]) for e in graph["edges"]}
    holds(("over", "backing", "data") in edges, "the edge of the backing link")


if __name__ == "__main__":
    run_by_hand(globals())
