"""What a design proposes, as QAPI with its documentation comments, in QEMU's style.

Everything is read off the design: what a command does in which order, what it promises and leaves.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from planner.explore.design import AnyOrder, Body, DesignFile, InOrder, PlannedInstruction
from planner.explore.instruction import (
    Instruction,
    OnExistingTag,
    OnFailure,
    VmstateIn,
    VmstateOf,
)
from planner.explore.spelling import Proposal, name_of
from planner.model.operations import Kind
from planner.present.visible import visible

__all__ = ["body_words", "file_name", "kinds_of", "promises", "qapi_text", "wrapped"]

_WIDTH = 70
_DOES: Mapping[Kind, str] = {
    Kind.PAUSE_GUEST: "stop the guest",
    Kind.RESUME_GUEST: "let the guest run",
    Kind.WRITE_VMSTATE: "write the machine state",
    Kind.SNAPSHOT_DISK: "take an internal snapshot",
    Kind.DISCARD_VMSTATE: "discard the machine state from the active layer",
    Kind.DELETE_DISK_SNAPSHOT: "delete the snapshot",
    Kind.REVERT_DISK: "revert the disk to the snapshot",
    Kind.READ_VMSTATE: "read the machine state",
    Kind.RESET_GUEST: "reset the guest",
    Kind.ADD_OVERLAY: "add an overlay's node",
    Kind.SWITCH_TO_OVERLAY: "switch the disk to its overlay",
    Kind.ADD_VMSTATE_NODE: "add a node for the machine state",
    Kind.ADD_TARGET: "add a copy's node",
    Kind.BEGIN_COPY: "begin the copy of a disk",
    Kind.END_COPY: "wait until the copy is complete",
    Kind.BEGIN_STREAM_VMSTATE: "begin a migration to a file",
    Kind.END_STREAM_VMSTATE: "wait until the migration is complete",
    Kind.FREEZE_FILESYSTEMS: "freeze the guest's file systems",
    Kind.THAW_FILESYSTEMS: "thaw the guest's file systems",
}
_OF_DISKS = frozenset(
    {Kind.SNAPSHOT_DISK, Kind.REVERT_DISK, Kind.DELETE_DISK_SNAPSHOT, Kind.SWITCH_TO_OVERLAY}
)
_WHICH = {
    "all": "of each disk",
    "vmstate": "of the disk with the machine state",
    "others": "of each other disk",
}
_FAILS = {
    OnFailure.NOTHING: "If it fails, it takes back everything that it did.",
    OnFailure.CLEANED_UP: "If it fails, it deletes the first snapshot of the tag on each of its disks.",
    OnFailure.WHAT_WAS_DONE: "If it fails, what it did before stays.",
}
_TAKEN = {
    OnExistingTag.REFUSE: "It fails if any of its disks holds a snapshot of the tag already.",
    OnExistingTag.REFUSE_IF_ALL: "It fails if all of its disks hold a snapshot of the tag already.",
    OnExistingTag.OVERWRITE: "A snapshot of the tag that is there already is deleted first.",
}


def body_words(body: Body) -> str:
    """What an instruction does, and in which order, as a clause."""
    if isinstance(body, InOrder):
        return ", then ".join(map(body_words, body.parts))
    if isinstance(body, AnyOrder):
        words = " and ".join(map(body_words, body.parts))
        return f"{words} (in any order)" if len(body.parts) > 1 else words
    of = f" {_WHICH[body.which]}" if body.kind in _OF_DISKS else ""
    return _DOES[body.kind] + of


def promises(instruction: Instruction | PlannedInstruction, kinds: frozenset[Kind]) -> list[str]:
    """What an instruction asserts about itself, a sentence each."""
    said = []
    if instruction.stops_guest:
        said.append("It stops a running guest itself, and lets it run again where it fails.")
    if instruction.atomic:
        said.append("Its disks are drained together until all of them are captured.")
    if Kind.WRITE_VMSTATE in kinds:
        if instruction.vmstate_of is VmstateOf.PAUSE:
            said.append("The machine state is of the last pause: memory is write-protected then.")
        if instruction.vmstate_in is VmstateIn.SNAPSHOT:
            said.append("The machine state goes into the snapshot that was taken already.")
    if instruction.monitor_answers:
        said.append("The monitor answers meanwhile.")
    if Kind.SNAPSHOT_DISK in kinds:
        said.append(_TAKEN[instruction.existing_tag])
    if Kind.DELETE_DISK_SNAPSHOT in kinds and instruction.by_tag:
        said.append("It deletes the first snapshot of the tag, whoever made it.")
    if len(kinds) > 1 or instruction.on_failure is not OnFailure.WHAT_WAS_DONE:
        said.append(_FAILS[instruction.on_failure])
    return said


def file_name(design: DesignFile) -> str:
    """A file's name for a design, as tests of QEMU have them."""
    return name_of(design.name) or "design"


def qapi_text(design: DesignFile, proposals: Sequence[Proposal]) -> str:
    """The fragment, as the text of its file; without a proposal it says that nothing is missing."""
    if not proposals:
        return "# Nothing: every command of the design is QEMU's already.\n"
    return "\n".join(line for each in proposals for line in _proposed(design, each)) + "\n"


def _proposed(design: DesignFile, proposal: Proposal) -> Iterator[str]:
    planned = _planned(design, proposal)
    camel = "".join(word[:1].upper() + word[1:] for word in proposal.name.split("-"))
    kinds = proposal.instruction.kinds
    does = f"{body_words(planned.does)}."
    does = does[:1].upper() + does[1:]
    where = "As an action of a transaction, which does: " if proposal.action else ""
    yield "##"
    yield f"# @{camel if proposal.action else proposal.name}:"
    yield "#"
    yield from _comment(visible(design.summary))
    yield "#"
    yield from _comment(where + does)
    for said in promises(proposal.instruction, kinds):
        yield "#"
        yield from _comment(said)
    for member in proposal.members:
        yield "#"
        yield from _comment(f"@{member.name}: {member.says}", "    ")
    yield "#"
    yield "# Since: TBD"
    yield "##"
    what = "struct" if proposal.action else "command"
    yield f"{{ '{what}': '{camel if proposal.action else proposal.name}',"
    yield from _members(proposal)
    if proposal.action:
        yield from _action(proposal, camel)


def _planned(design: DesignFile, proposal: Proposal) -> PlannedInstruction:
    named = [each for each in design.instructions if each.name == proposal.instruction.name]
    return next(each for each in named if {*proposal.kinds} <= {*kinds_of(each.does)})


def kinds_of(body: Body) -> Iterator[Kind]:
    """Every kind of operation that it names."""
    if isinstance(body, InOrder | AnyOrder):
        for part in body.parts:
            yield from kinds_of(part)
    else:
        yield body.kind


def _members(proposal: Proposal) -> Iterator[str]:
    types = {
        member.name: member.type if member.type.startswith("[") else f"'{member.type}'"
        for member in proposal.members
    }
    members = [f"'{name}': {kind}" for name, kind in types.items()]
    short = f"  'data': {{ {', '.join(members)} }} }}"
    if len(short) <= _WIDTH:
        yield short
        return
    for number, member in enumerate(members):
        begin = "  'data': { " if not number else "            "
        yield f"{begin}{member}{',' if number + 1 < len(members) else ' } }'}"


def _action(proposal: Proposal, camel: str) -> Iterator[str]:
    """What an action needs beside its arguments: QEMU has its actions in an enumeration and a union."""
    yield ""
    yield "##"
    yield f"# @{camel}Wrapper:"
    yield "#"
    yield f"# @data: arguments of the action @{proposal.name}"
    yield "#"
    yield "# Since: TBD"
    yield "##"
    yield f"{{ 'struct': '{camel}Wrapper',"
    yield f"  'data': {{ 'data': '{camel}' }} }}"
    yield ""
    yield "# In the enumeration TransactionActionKind, with its comment:"
    yield f"#   @{proposal.name}: Since TBD"
    yield f"#   '{proposal.name}'"
    yield "# In the union TransactionAction:"
    yield f"#   '{proposal.name}': '{camel}Wrapper'"


def _comment(text: str, further: str = "") -> Iterator[str]:
    for number, line in enumerate(wrapped(text, _WIDTH - 2 - len(further))):
        yield f"# {further if number else ''}{line}".rstrip()


def wrapped(text: str, width: int) -> Iterator[str]:
    """Text in lines of so many characters at the most, but for longer words."""
    words = " ".join(text.split())
    lines = textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)
    return iter(lines or [""])
