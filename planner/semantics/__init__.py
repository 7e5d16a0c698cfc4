"""What each QMP snapshot command does to a VM, as pure functions.

One model, used by the explorer and, behind a QMP socket, by the simulator; real QEMU judges it
(`tests/model/test_lockstep.py`).  Where to look: `state` what a VM is; `qcow2` and `block` images and
nodes; `runstate`, `jobs`, `transaction`, `overlay`, `block_commit`, `migrate`, `hmp` what the commands
do; `commands` the two grains at which they can be run; `quirks` and `versions` which QEMU does what;
`construct` and `recorded` how to get a state.

    >>> from planner.semantics import execute, vm_state
    >>> vm = vm_state("7.2", ["disk0", "disk1"])
    >>> save = {"job-id": "j", "tag": "t", "vmstate": "disk0", "devices": ["disk0", "disk1"]}
    >>> done = execute(vm, "snapshot-save", save)
    >>> [event.name for event in done.events][2:4]
    ['STOP', 'RESUME']
    >>> {part.instant for node in done.state.graph.nodes for part in node.layer.snapshots}
    {1}
"""

from planner.semantics.block import (
    content_node,
    find_node,
    find_snapshot,
    lookup,
    snapshot_node,
    writable_device_nodes,
)
from planner.semantics.commands import (
    COMMANDS,
    advance,
    advance_background,
    check_command,
    execute,
    micro_steps,
    modelled_commands,
    next_in_background,
    run_background,
    start,
)
from planner.semantics.construct import DISK_KINDS, DiskDescription, state_from_facts, vm_state
from planner.semantics.guest import advance_host, drained_nodes, guest_can_run, guest_step
from planner.semantics.hmp import all_disks
from planner.semantics.migrate import waits_for_continue
from planner.semantics.migration_settings import capability_names
from planner.semantics.qcow2 import LayerSnapshot, Qcow2Image, Vmstate
from planner.semantics.quirks import Quirk
from planner.semantics.recorded import state_from_queries
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpError,
    QmpEvent,
    StepEffect,
    StepTrace,
)
from planner.semantics.state import (
    BlockBackend,
    BlockGraph,
    Commit,
    GuestMachine,
    Job,
    Migration,
    Node,
    StreamContent,
    VmState,
)
from planner.semantics.versions import PROFILES, Profile, profile_of, schema_of

__all__ = [
    "NOT_MODELLED",
    # what a VM is
    "VmState",
    "BlockGraph",
    "Commit",
    "BlockBackend",
    "Job",
    "Qcow2Image",
    "LayerSnapshot",
    "GuestMachine",
    "Migration",
    "Node",
    "StreamContent",
    "Vmstate",
    # how to get one
    "DISK_KINDS",
    "DiskDescription",
    "state_from_facts",
    "state_from_queries",
    "vm_state",
    # what happens to it
    "COMMANDS",
    "advance",
    "advance_background",
    "advance_host",
    "check_command",
    "execute",
    "guest_step",
    "micro_steps",
    "modelled_commands",
    "next_in_background",
    "run_background",
    "start",
    # what comes of it
    "QmpEvent",
    "InjectedFailure",
    "MicroStep",
    "StepEffect",
    "QmpError",
    "CommandResult",
    "StepTrace",
    # questions about it
    "all_disks",
    "content_node",
    "drained_nodes",
    "find_node",
    "find_snapshot",
    "guest_can_run",
    "lookup",
    "snapshot_node",
    "waits_for_continue",
    "writable_device_nodes",
    # which QEMU does what
    "PROFILES",
    "Profile",
    "Quirk",
    "capability_names",
    "profile_of",
    "schema_of",
]
