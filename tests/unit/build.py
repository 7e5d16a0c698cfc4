"""Small VMs and requests for tests, in as few words as can be."""

import json
from pathlib import Path

from attrs import evolve

from planner.compile.plan import compile_request
from planner.model.facts import ChainNode, Disk, Facts, QemuVersion, SnapshotInfo, node_reference
from planner.model.request_text import read_request

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    version: tuple(json.loads((ROOT / f"tests/data/schema-{version}.json").read_text()))
    for version in ("7.2", "10.0", "11.1")
}


def capability_names(version):
    """The migration capabilities of a QEMU, from its schema."""
    by_name = {entry["name"]: entry for entry in SCHEMAS[version]}
    arguments = by_name[by_name["migrate-set-capabilities"]["arg-type"]]
    item = by_name[by_name[arguments["members"][0]["type"]]["element-type"]]
    kind = next(m["type"] for m in item["members"] if m["name"] == "capability")
    return sorted(by_name[kind]["values"])


def qcow2(name, **more):
    """A writable qcow2 disk on a device."""
    fields = {"node": name, "root": name, "driver": "qcow2", "filename": f"/vm/{name}.qcow2"}
    fields |= {"qdev": f"{name}-device", "virtual_size_bytes": 1 << 30}
    return Disk(name, **(fields | more))


def raw(name, **more):
    return qcow2(name, driver="raw", filename=f"/vm/{name}.raw", **more)


def filtered(name, **more):
    """A qcow2 disk under a throttle filter `NAME-filter`, which is the root."""
    layer = ChainNode(f"{name}-filter", "throttle", f"/vm/{name}.qcow2")
    return qcow2(name, **({"root": layer.node, "filters": (layer,)} | more))


def drive(name, **more):
    """A disk of `-drive id=NAME`: QEMU made its node names up."""
    fields = {"node": node_reference(name), "drive_id": name, "qdev": "/machine/unattached/x"}
    return qcow2(name, **(fields | more))


def held(tag, snapshot_id="1", **more):
    return SnapshotInfo(snapshot_id, tag, **more)


def facts(*disks, version="7.2", **more):
    """A running VM with these disks."""
    major, minor = version.split(".")
    live = {disk.node: f"#block{i}" for i, disk in enumerate(disks) if disk.node.startswith("@")}
    fields = {
        "qemu": QemuVersion(int(major), int(minor), 22),
        "machine": "pc-i440fx-7.2",
        "run_state": "running",
        "target": "x86_64",
        "schema": SCHEMAS[version],
        "capabilities": dict.fromkeys(capability_names(version), False),
        "parameters": {"downtime-limit": 300, "max-bandwidth": 2**27},
        "live_nodes": live,
    }
    return Facts(disks=disks, **(fields | more))


def request(tag="t", machine_state="none", disks=None, **more):
    """A request, read from the JSON text of these values; keys with `_` for `-`."""
    plain = {"tag": tag, "machine-state": machine_state, "disks": disks or {}}
    plain |= {key.replace("_", "-"): value for key, value in more.items()}
    return read_request(json.dumps(plain))


def whole(*names, vmstate=None, **more):
    """A request for these disks, internal, the machine state on the first."""
    state = {"internal": vmstate or names[0]}
    return request("t", state, dict.fromkeys(names, "internal"), **more)


def streamed(capture, *names, overlays=(), **more):
    """A request for these disks, internal, others under overlays, and the machine state in a file."""
    disks = dict.fromkeys(names, "internal")
    disks |= {name: {"external": f"/new/{name}.qcow2"} for name in overlays}
    return request("t", {"external": "/new/state", "capture": capture}, disks, **more)


def two_disks(**more):
    return facts(qcow2("disk0"), qcow2("disk1"), **more)


def plan(design="auto", the_facts=None, the_request=None):
    """A plan; of two disks, machine state and all, unless told otherwise."""
    return compile_request(the_request or whole("disk0", "disk1"), the_facts or two_disks(), design)


def with_steps(program, *steps):
    return evolve(program, steps=steps)


def codes(error):
    """The codes of an error's problems, in order."""
    return [problem.code for problem in error.problems]
