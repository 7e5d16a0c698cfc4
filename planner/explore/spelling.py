"""How QMP spells the instructions of a design: as QEMU has them, or as commands that are proposed.

A design says what an instruction does and not how it is called with which arguments.  For commands that
QEMU has, that follows from the operations.  What no QEMU has is given a definition, by rules that are
the same for every design: an operation that has no action of `transaction` belongs to one new action,
called as the design is; any other instruction of an unknown name is a new command, and a job where it
writes or reads machine state.

Rules: pure.  Disks are nodes ``disk0``, ``disk1``, … in the order of the request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from planner.explore.instruction import Completion, CopyOf, Instruction, SideEffect
from planner.explore.spelling_copies import OnHost, added, backup, copy_number, host_step
from planner.model.operations import Kind, Operation

__all__ = [
    "Member",
    "Proposal",
    "Spelled",
    "Unspelled",
    "name_of",
    "node_of",
    "proposals_of",
    "spell",
]

Arguments = Mapping[str, object]

_ALONE: Mapping[str, Kind] = {
    "stop": Kind.PAUSE_GUEST,
    "cont": Kind.RESUME_GUEST,
    "system_reset": Kind.RESET_GUEST,
}
"""Commands without arguments, each with what it does."""

_MONITOR: Mapping[str, Kind] = {
    "savevm": Kind.WRITE_VMSTATE,
    "loadvm": Kind.READ_VMSTATE,
    "delvm": Kind.DELETE_DISK_SNAPSHOT,
}
"""Commands of the human monitor, which take a tag."""

_JOBS: Mapping[str, Kind] = {
    "snapshot-save": Kind.SNAPSHOT_DISK,
    "snapshot-load": Kind.REVERT_DISK,
    "snapshot-delete": Kind.DELETE_DISK_SNAPSHOT,
}
"""Jobs on a list of nodes, each with what it does to every node of it."""

_ON_ONE_DISK = ("blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync")
"""Commands on a disk, by its name and a tag."""

_ACTIONS: Mapping[Kind, str] = {
    Kind.SNAPSHOT_DISK: "blockdev-snapshot-internal-sync",
    Kind.BEGIN_COPY: "blockdev-backup",
}
"""The actions of `transaction` that QEMU has."""

_ELSEWHERE = frozenset(
    {
        *(Kind.ADD_OVERLAY, Kind.SWITCH_TO_OVERLAY, Kind.ADD_VMSTATE_NODE, Kind.ADD_TARGET),
        *(Kind.BEGIN_COPY, Kind.END_COPY, Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE),
        *(Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS),
    }
)
"""What needs files or an agent beside the images."""

_STATE = frozenset({Kind.WRITE_VMSTATE, Kind.READ_VMSTATE, Kind.DISCARD_VMSTATE})
_ON_DISKS = frozenset(
    {Kind.SNAPSHOT_DISK, Kind.REVERT_DISK, Kind.DELETE_DISK_SNAPSHOT, Kind.DISCARD_VMSTATE}
)


@frozen
class Member:
    """A member of the arguments of something that is proposed."""

    name: str
    type: str
    says: str


@frozen
class Proposal:
    """A command, or an action of `transaction`, that no QEMU has.

    Attributes:
        name: What it is called.
        action: Whether it is an action.
        job: Whether it is a job.
        members: Its arguments.
        kinds: What it does, in order of the instruction.
        instruction: The instruction that it is, or is a part of.
    """

    name: str
    action: bool
    job: bool
    members: tuple[Member, ...]
    kinds: tuple[Kind, ...]
    instruction: Instruction


@frozen
class Spelled:
    """An instruction as QMP has it.

    Attributes:
        execute: The command.
        arguments: Its arguments.
        job: The id of the job that has to end; empty: it is none.
        actions: The actions of `transaction` that it needs.
        proposal: What of it no QEMU has; None: nothing.
    """

    execute: str
    arguments: Arguments = field(factory=dict, hash=False)
    job: str = ""
    actions: tuple[str, ...] = ()
    proposal: Proposal | None = None


@frozen
class Unspelled:
    """An instruction that is not spelled, and why."""

    name: str
    why: str


def name_of(design: str) -> str:
    """A design's name as QMP and files have names; empty: nothing of it can be in one."""
    return re.sub(r"[^a-z0-9]+", "-", design.lower()).strip("-")


def node_of(disks: Sequence[str], disk: str) -> str:
    """The node that stands for a disk of the request."""
    return f"disk{disks.index(disk)}"


def spell(
    instruction: Instruction, design: str, disks: Sequence[str], vmstate: int, tag: str
) -> Spelled | OnHost | Unspelled:
    """Spell one instruction, laid over a request.

    Args:
        instruction: The instruction.
        design: The design's name.
        disks: The request's disks.
        vmstate: The number of the one that holds the machine state; -1: none.
        tag: The snapshot's name.
    """
    name = instruction.name
    copying = _copying(instruction, disks)
    if copying is not None:
        return copying
    begins = {Kind.BEGIN_COPY} if name == "transaction" and _of_begin(instruction) else set()
    if instruction.effect is not SideEffect.NONE or instruction.kinds & (_ELSEWHERE - begins):
        return Unspelled(name, f"`{name}` needs files beside the images")
    words = _Words(disks, vmstate, tag)
    first = instruction.operations[0]
    if name in _ALONE and instruction.kinds == {_ALONE[name]}:
        return Spelled(name)
    if name in _MONITOR and _MONITOR[name] in instruction.kinds:
        line = {"command-line": f"{name} {tag}"}
        return Spelled("human-monitor-command", line)
    if first.detail:
        return Unspelled(name, f"`{name}` is about a snapshot that is there already")
    if name in _ON_ONE_DISK and len(instruction.operations) == 1:
        return Spelled(name, {"device": words.node(first), "name": tag})
    if name in _JOBS and _JOBS[name] in instruction.kinds:
        return Spelled(name, words.job(name, instruction, _JOBS[name]), f"{name}-job")
    if name == "transaction":
        return _transaction(instruction, design, words)
    proposal = _proposal(name, instruction, instruction.operations, action=False)
    arguments = words.of(proposal, instruction.operations)
    return Spelled(name, arguments, f"{name}-job" if proposal.job else "", (), proposal)


def proposals_of(spelled: Sequence[Spelled | OnHost | Unspelled]) -> tuple[Proposal, ...]:
    """What is proposed, each once, in order."""
    found = (each.proposal for each in spelled if isinstance(each, Spelled))
    by_name: dict[str, Proposal] = {}
    for proposal in found:
        if proposal is not None:
            by_name.setdefault(proposal.name, proposal)
    return tuple(by_name.values())


def _of_begin(instruction: Instruction) -> bool:
    return instruction.copy_of is CopyOf.BEGIN


def _copying(instruction: Instruction, disks: Sequence[str]) -> Spelled | OnHost | None:
    """What is done about the file, the node or the job of one copy; None: nothing."""
    name, number = instruction.name, copy_number(tuple(disks), instruction)
    if name == "blockdev-add" and instruction.kinds == {Kind.ADD_TARGET} and number >= 0:
        return Spelled(name, added(number))
    if name == "blockdev-del" and instruction.effect is SideEffect.REMOVE_TARGET:
        return Spelled(name, {"node-name": f"copy{number}"})
    return host_step(tuple(disks), instruction)


def _transaction(instruction: Instruction, design: str, words: _Words) -> Spelled:
    known = [each for each in instruction.operations if each.kind in _ACTIONS]
    others = tuple(each for each in instruction.operations if each.kind not in _ACTIONS)
    actions: list[Mapping[str, object]] = []
    proposal = None
    if others:
        proposal = _proposal(name_of(design), instruction, others, action=True)
        actions.append({"type": proposal.name, "data": words.of(proposal, others)})
    actions += [{"type": _ACTIONS[each.kind], "data": words.data(each)} for each in known]
    types = tuple(dict.fromkeys(str(each["type"]) for each in actions))
    arguments: dict[str, object] = {"actions": actions}
    if instruction.completion is Completion.GROUPED:
        arguments["properties"] = {"completion-mode": "grouped"}
    return Spelled("transaction", arguments, "", types, proposal)


def _proposal(
    name: str, instruction: Instruction, operations: Sequence[Operation], *, action: bool
) -> Proposal:
    kinds = tuple(dict.fromkeys(each.kind for each in operations))
    job = not action and bool({Kind.WRITE_VMSTATE, Kind.READ_VMSTATE} & {*kinds})
    members = tuple(_members(kinds, job=job))
    return Proposal(name, action, job, members, kinds, instruction)


def _members(kinds: Sequence[Kind], *, job: bool) -> Iterator[Member]:
    if job:
        yield Member("job-id", "str", "identifier of the job")
    if _STATE & {*kinds} or _ON_DISKS & {*kinds}:
        yield Member("tag", "str", "name of the snapshot")
    if _STATE & {*kinds}:
        yield Member("vmstate", "str", "node that holds the machine state")
    if (_ON_DISKS - {Kind.DISCARD_VMSTATE}) & {*kinds}:
        yield Member("devices", "['str']", "nodes of the disks")


@frozen
class _Words:
    """What the arguments are made of."""

    disks: Sequence[str]
    vmstate: int
    tag: str

    def node(self, operation: Operation) -> str:
        return node_of(self.disks, operation.disk)

    def data(self, operation: Operation) -> Arguments:
        """The data of an action of `transaction`."""
        if operation.kind is Kind.BEGIN_COPY:
            return backup(self.disks.index(operation.disk))
        return {"device": self.node(operation), "name": self.tag}

    def nodes(self, operations: Sequence[Operation], kinds: frozenset[Kind]) -> list[str]:
        found = (self.node(each) for each in operations if each.kind in kinds and each.disk)
        return list(dict.fromkeys(found))

    def job(self, name: str, instruction: Instruction, kind: Kind) -> Arguments:
        devices = self.nodes(instruction.operations, frozenset({kind}))
        arguments = {"job-id": f"{name}-job", "tag": self.tag, "devices": devices}
        if _STATE & instruction.kinds:
            arguments["vmstate"] = f"disk{self.vmstate}"
        return arguments

    def of(self, proposal: Proposal, operations: Sequence[Operation]) -> Arguments:
        values: dict[str, object] = {
            "job-id": f"{proposal.name}-job",
            "tag": self.tag,
            "vmstate": f"disk{self.vmstate}",
            "devices": self.nodes(operations, _ON_DISKS - {Kind.DISCARD_VMSTATE}),
        }
        return {member.name: values[member.name] for member in proposal.members}
