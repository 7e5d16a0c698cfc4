"""A command at its moment: what the rules see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import define, field, frozen

from planner.lint.devices import Devices
from planner.lint.program import Command, Finding, Listing
from planner.lint.vm import TrialVm, actions_of
from planner.model.facts import Disk
from planner.semantics import Node, VmState, find_node, lookup

__all__ = [
    "FIRST",
    "INTERNAL",
    "SequenceJob",
    "Memory",
    "Moment",
    "Rule",
    "NamedDisk",
    "bind",
    "words_in",
]

INTERNAL = "blockdev-snapshot-internal-sync"
FIRST = 6
"""How many names a message quotes before it counts the rest."""


@define
class SequenceJob:
    """A snapshot job of the sequence.

    Attributes:
        command: What made it.
        seen: Whether its end was looked for.
        dismissed: Whether it was dismissed.
        told: Whether something that came too early was reported.
        makes: What it makes, where that alone has to wait for it; empty: everything has to.
    """

    command: Command
    seen: bool = False
    dismissed: bool = False
    told: bool = False
    makes: frozenset[str] = frozenset()


@define
class Memory:
    """What the rules remember from one command to the next.

    Attributes:
        jobs: The sequence's snapshot jobs by id; the latest of each.
        looked: Whether the VM's snapshots were asked for.
        capabilities: Migration capabilities that were switched on.
        pending_background: The line of a background `migrate` of a stopped guest whose write
            tracking nobody has seen yet; 0: none.
        failed_load: The line of the last load that failed and left the VM in parts; 0: none.
        torn: What that load left, in a clause.
        deletions: Lines and names of old snapshots that were deleted, with the command.
        migrate: The last `migrate` that nobody has asked about since.
        stops: The line of the last command that left the guest paused; 0: none.
        leaves_memory_out: Whether each stream was written with `x-ignore-shared`, by its URI.
        template_line: The line of a `migrate` that left shared memory out; 0: none.
        clone_line: The line of a `migrate-incoming` with that capability; 0: none.
        unmodelled: The line of each command whose effect is not known here, by what it names.
        unknown_since: The line of the first command after which anything may be otherwise; 0: none.
        devices: What was plugged and unplugged.
        out_of_band: Whether `qmp_capabilities` has allowed that; None: nobody knows.
    """

    jobs: dict[str, SequenceJob] = field(factory=dict)
    looked: bool = False
    capabilities: set[str] = field(factory=set)
    pending_background: int = 0
    failed_load: int = 0
    torn: str = ""
    deletions: list[tuple[Command, str]] = field(factory=list)
    migrate: Command | None = None
    stops: int = 0
    leaves_memory_out: dict[str, bool] = field(factory=dict)
    template_line: int = 0
    clone_line: int = 0
    unmodelled: dict[str, int] = field(factory=dict)
    unknown_since: int = 0
    devices: Devices = field(factory=Devices)
    out_of_band: bool | None = None


@frozen
class NamedDisk:
    """A disk that a command names.

    Attributes:
        name: As the sequence says it.
        node: What it means; None: nothing that the command takes.
        disk: What the facts say of it.
        tag: The snapshot name that goes with it.
        by_node: Whether the command takes node names only, as the jobs do (fact 11).
    """

    name: str
    node: Node | None
    disk: Disk | None
    tag: str
    by_node: bool


@frozen
class Moment:
    """One command, the VM just before it, and what came before.

    Attributes:
        command: As the sequence says it.
        arguments: The same arguments with node names of ``state``.
        state: The VM.
        stage: What is known of the VM.
        listing: The whole sequence.
        memory: What came before.
    """

    command: Command
    arguments: Mapping[str, object]
    state: VmState
    stage: TrialVm
    listing: Listing
    memory: Memory

    @property
    def execute(self) -> str:
        """The command's name."""
        return self.command.execute

    def text(self, key: str) -> str:
        """An argument that is text; empty where it is none."""
        value = self.arguments.get(key)
        return value if isinstance(value, str) else ""

    def finding(self, rule: str, message: str, remedy: str = "") -> Finding:
        """A finding about this command."""
        return Finding(self.command.line, rule, self.execute, message, remedy)

    def target(self, name: str, tag: str, *, by_node: bool) -> NamedDisk:
        """What a name means at this moment."""
        inner = self.stage.aliases.get(name, name)
        node = find_node(self.state, inner) if by_node else lookup(self.state, inner)
        return NamedDisk(name, node, self._disk(node), tag, by_node)

    def _disk(self, node: Node | None) -> Disk | None:
        # Down from a filter to the image that the facts describe.
        while node is not None and node.name not in self.stage.disks:
            node = self.state.graph.get(node.file) if node.file else None
        return None if node is None else self.stage.disks[node.name]

    def targets(self) -> tuple[NamedDisk, ...]:
        """The disks that the command would snapshot, load or delete from, in its order."""
        if self.execute in ("snapshot-save", "snapshot-load", "snapshot-delete"):
            devices = self.command.arguments.get("devices")
            names = devices if isinstance(devices, list) else []
            tag = self.text("tag")
            return tuple(self.target(n, tag, by_node=True) for n in names if isinstance(n, str))
        datas: list[object] = [
            action.get("data")
            for action in actions_of(self.command)
            if action.get("type") == INTERNAL
        ]
        if self.execute in (INTERNAL, "blockdev-snapshot-delete-internal-sync"):
            datas = [self.command.arguments]
        return tuple(
            self.target(str(d.get("device")), str(d.get("name", "")), by_node=False)
            for d in datas
            if isinstance(d, Mapping)
        )

    def unknown_because(self, *names: str) -> int:
        """The line of the command that makes it unknown what these names are; 0: they are known."""
        lines = [self.memory.unmodelled[name] for name in names if name in self.memory.unmodelled]
        if self.memory.unknown_since:
            lines.append(self.memory.unknown_since)
        return min(lines, default=0)

    @property
    def makes_snapshots(self) -> bool:
        """Whether the command makes internal snapshots."""
        return self.execute in ("snapshot-save", "transaction", INTERNAL)


Rule = Callable[[Moment], Iterator[Finding]]


def words_in(value: object) -> Iterator[str]:
    """Every text that stands in the arguments of a command."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from words_in(item)
    elif isinstance(value, str):
        yield value


def bind(arguments: Mapping[str, object], aliases: Mapping[str, str]) -> dict[str, object]:
    """Arguments with other names for nodes, wherever QMP takes a node."""
    return {key: _bound(key, value, aliases) for key, value in arguments.items()}


def _bound(key: str, value: object, aliases: Mapping[str, str]) -> object:
    if isinstance(value, Mapping):
        return bind(value, aliases)
    if isinstance(value, list):
        return [_bound(key, item, aliases) for item in value]
    if isinstance(value, str) and key in ("devices", "vmstate", "device", "node"):
        return aliases.get(value, value)
    return value
