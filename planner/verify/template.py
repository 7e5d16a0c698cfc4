"""Proves that a template is made, and a clone of it started, so that nothing goes wrong without a word.

QEMU refuses little of what can go wrong here (facts 78 to 88): it maps any file of at least the right
size, makes one that is missing, writes through a shared mapping, and lets a maker run on.  So each act
is judged before it is done.  A rule is one function from the acts to what breaks it, with its reason;
`specs/invariants.md` has an example of each.  The rules know nothing of who wrote the acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attrs import field, frozen

from planner.errors import Problem
from planner.program.rule_ids import RuleId
from planner.program.template_acts import (
    Act,
    ActKind,
    MadeFrom,
    MemoryObject,
    checked,
    memories_of,
    started,
)

__all__ = [
    "CLONE_RULES",
    "IGNORE_SHARED",
    "MAKING_RULES",
    "TemplateRule",
    "clone_problems",
    "making_problems",
    "start_problems",
]

Version = tuple[int, int]
IGNORE_SHARED = "x-ignore-shared"
READ_ONLY_SINCE: Version = (8, 2)
_GIVES_MEMORY_BACK = ("virtio-balloon", "virtio-mem", "virtio-pmem")
_READS = ("migrate-incoming", "snapshot-load")


@frozen
class Acts:
    """The acts of one making or one clone, with what they are for.

    Attributes:
        acts: In their order.
        template: What is made, or what the clone comes from.
        version: Of the QEMU that is started.
    """

    acts: Sequence[Act]
    template: MadeFrom
    version: Version

    def sent(self, *names: str) -> Iterator[int]:
        """Where these commands are sent."""
        return (at for at, act in enumerate(self.acts) if act.execute in names)

    def of_kind(self, kind: ActKind, file: str = "") -> Iterator[int]:
        """Where something of a kind is done, to a file or to any."""
        return (
            at
            for at, act in enumerate(self.acts)
            if act.kind is kind and (not file or act.file == file)
        )

    def ignores_shared(self, at: int) -> bool:
        """Whether the capability is on when an act is done."""
        on = False
        for act in self.acts[:at]:
            changes = act.arguments.get("capabilities")
            if act.execute != "migrate-set-capabilities" or not isinstance(changes, Sequence):
                continue
            for change in changes:
                if isinstance(change, dict) and change.get("capability") == IGNORE_SHARED:
                    on = bool(change.get("state"))
        return on

    def memories(self) -> Iterator[tuple[int, MemoryObject]]:
        """Each start, with each memory object that it makes."""
        for at in self.of_kind(ActKind.START):
            yield from ((at, memory) for memory in memories_of(self.acts[at].words))

    def without_memory(self) -> Iterator[int]:
        """Each start that makes no memory object."""
        return (at for at in self.of_kind(ActKind.START) if not memories_of(self.acts[at].words))

    def written_as(self, file: str) -> str:
        """The name under which a file is written before it gets its own."""
        for at in self.of_kind(ActKind.NAME):
            if self.acts[at].to == file:
                return self.acts[at].file
        return file


Broken = Iterator[tuple[int, str]]


@frozen
class TemplateRule:
    """A rule about templates.

    Attributes:
        id: Stable identifier, quoted in error texts.
        reason: Why, in one sentence.
        broken: From the acts to the places that break it, each with what is wrong there.
    """

    id: RuleId
    reason: str
    broken: Callable[[Acts], Broken] = field(repr=False)


def making_problems(acts: Sequence[Act], template: MadeFrom, version: Version) -> list[Problem]:
    """What is wrong with the making of a template; nothing was done yet.

    Args:
        acts: From the start of the maker to the manifest.
        template: What the manifest will say.
        version: The maker's QEMU.
    """
    return _problems(MAKING_RULES, Acts(acts, template, version))


def clone_problems(acts: Sequence[Act], template: MadeFrom, version: Version) -> list[Problem]:
    """What is wrong with the start of a clone; nothing was done yet.

    Args:
        acts: From the look at the template's files to the command that lets the clone run.
        template: What the manifest says.
        version: The clone's QEMU.
    """
    return _problems(CLONE_RULES, Acts(acts, template, version))


def start_problems(words: Sequence[str], template: MadeFrom, version: Version) -> list[Problem]:
    """What is wrong with the command line of a clone: what its rules say of that alone.

    Args:
        words: Program and arguments.
        template: What the manifest says.
        version: The clone's QEMU.
    """
    looks = [checked(file) for file in template.files]
    return clone_problems([*looks, started(*words)], template, version)


def _problems(rules: Sequence[TemplateRule], acts: Acts) -> list[Problem]:
    return [
        Problem(
            rule.id, f"act {at + 1} ({acts.acts[at]})" if at >= 0 else "", f"{text}: {rule.reason}"
        )
        for rule in rules
        for at, text in rule.broken(acts)
    ]


# --- making ---------------------------------------------------------------------------------------


def _memory_in_a_shared_file(acts: Acts) -> Broken:
    # -object memory-backend-file,id=pc.ram,…,mem-path=RAM.tmp,share=on -machine memory-backend=pc.ram
    for at in acts.without_memory():
        yield at, "the maker's memory is no file"
    for at, memory in acts.memories():
        if memory.kind != "memory-backend-file":
            yield at, f"the maker's memory {memory.id} is no file"
        elif not memory.share:
            yield at, f"the maker's memory {memory.id} is not shared"


def _maker_never_runs(acts: Acts) -> Broken:
    # -S, and no `cont` to the end.
    for at in acts.of_kind(ActKind.START):
        if "-S" not in acts.acts[at].words:
            yield at, "the maker starts running"
    for at in acts.sent("cont"):
        yield at, "the maker runs"


def _read_before_written(acts: Acts) -> Broken:
    # migrate-incoming SOURCE -> migrate STATE.
    read = min(acts.sent(*_READS), default=len(acts.acts))
    for at in acts.sent("migrate"):
        if at < read:
            yield at, "nothing was read yet"
    if not any(acts.sent("migrate")):
        yield -1, "no devices' state is written"


def _ignore_shared_in_the_maker(acts: Acts) -> Broken:
    # migrate-incoming SOURCE -> x-ignore-shared on -> migrate STATE.
    for at in acts.sent(*_READS):
        if acts.ignores_shared(at):
            yield at, f"{IGNORE_SHARED} is on when the source is read"
    for at in acts.sent("migrate"):
        if not acts.ignores_shared(at):
            yield at, f"{IGNORE_SHARED} is off when the state is written"


def _complete_before_named(acts: Acts) -> Broken:
    # end -> sync RAM.tmp, STATE.tmp -> RAM.tmp is RAM, STATE.tmp is STATE -> the manifest.
    end = max(acts.of_kind(ActKind.END), default=len(acts.acts))
    for file in acts.template.files:
        temporary = acts.written_as(file)
        names = [at for at in acts.of_kind(ActKind.NAME) if acts.acts[at].to == file]
        syncs = [at for at in acts.of_kind(ActKind.SYNC, temporary) if at > end]
        for at in names:
            if not any(sync < at for sync in syncs):
                yield at, f"{temporary} was not synced since its QEMU ended"
        for at in acts.of_kind(ActKind.RECORD):
            if not any(name < at for name in names):
                yield at, f"{file} is recorded and has not got its name"
            if file not in acts.acts[at].files:
                yield at, f"{file} is not recorded"
    if not any(acts.of_kind(ActKind.RECORD)):
        yield -1, "nothing is recorded"


def _new_memory_in_the_maker(acts: Acts) -> Broken:
    # mem-path=RAM.tmp, never RAM.
    for at, memory in acts.memories():
        if memory.file in acts.template.files:
            yield at, f"{memory.file} is written under its own name"
        elif memory.discard_data:
            yield at, "discard-data empties the file when the maker ends"


def _memory_as_made_by_the_maker(acts: Acts) -> Broken:
    yield from _differing(acts, acts.written_as)


# --- clones ---------------------------------------------------------------------------------------


def _checked_before_started(acts: Acts) -> Broken:
    # check RAM, check STATE -> start.
    for file in acts.template.files:
        look = min(acts.of_kind(ActKind.CHECK, file), default=len(acts.acts))
        for at in acts.of_kind(ActKind.START):
            if at < look:
                yield at, f"nobody has looked at {file}"


def _memory_private(acts: Acts) -> Broken:
    # share=off, and rom=off where it is opened to be read.
    for at, memory in acts.memories():
        if memory.share:
            yield at, f"the clone shares the template's memory {memory.id}"
        elif memory.rom:
            yield at, f"the clone cannot write its memory {memory.id}"


def _never_written(acts: Acts) -> Broken:
    # readonly=on,rom=off; before 8.2, which has no rom, no device that gives memory back.
    for at, memory in acts.memories():
        if acts.version >= READ_ONLY_SINCE and not memory.read_only:
            yield at, f"QEMU opens {memory.file} to write it"
        devices = [] if memory.read_only else _giving_back(acts.acts[at].words)
        for device in devices:
            yield at, f"{device} punches holes into {memory.file}"
        if memory.discard_data:
            yield at, f"discard-data empties {memory.file}"


def _giving_back(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        for device in _GIVES_MEMORY_BACK:
            if word.startswith(device) or f'"{device}' in word:
                yield device


def _memory_as_made(acts: Acts) -> Broken:
    yield from _differing(acts, lambda file: file)


def _differing(acts: Acts, written_as: Callable[[str], str]) -> Broken:
    wanted = {each.id: each for each in acts.template.memory}
    for at in acts.of_kind(ActKind.START):
        found = memories_of(acts.acts[at].words)
        missing = sorted(wanted.keys() - {memory.id for memory in found})
        if missing:
            yield at, f"the template's memory {', '.join(missing)} is not there"
        for memory in found:
            one = wanted.get(memory.id)
            if one is None:
                yield at, f"memory {memory.id} is not the template's"
                continue
            has, should = (
                (memory.size_bytes, memory.file),
                (one.size_bytes, written_as(one.file)),
            )
            if memory.file and has != should:
                yield (
                    at,
                    f"{memory.id} is {has[0]} bytes of {has[1]}, not {should[0]} of {should[1]}",
                )


def _ignore_shared_in_a_clone(acts: Acts) -> Broken:
    # x-ignore-shared on -> migrate-incoming STATE.
    for at in acts.sent("migrate-incoming"):
        if not acts.ignores_shared(at):
            yield at, f"{IGNORE_SHARED} is off when the state is read"


def _off_before_it_runs(acts: Acts) -> Broken:
    # migrate-incoming STATE -> x-ignore-shared off -> cont.
    for at in acts.sent("cont"):
        if acts.ignores_shared(at):
            yield at, f"{IGNORE_SHARED} is still on"
    for at in acts.of_kind(ActKind.START):
        if "-S" not in acts.acts[at].words:
            yield at, "the clone runs as soon as it is read"


_BOTH_SIDES = "the stream says whether it was on, and QEMU ends over the difference (fact 79)"
_AS_MADE = "nothing in the state says which memory it belongs to (facts 79 and 81)"

MAKING_RULES: tuple[TemplateRule, ...] = (
    TemplateRule(
        RuleId.MEMORY_IN_A_SHARED_FILE,
        "only a shared file outlives the maker; other memory is lost, or in the stream (fact 85)",
        _memory_in_a_shared_file,
    ),
    TemplateRule(
        RuleId.MAKER_NEVER_RUNS,
        "a guest that runs changes the memory that its state was written for (fact 82)",
        _maker_never_runs,
    ),
    TemplateRule(
        RuleId.READ_BEFORE_WRITTEN,
        "what was not read is not in the template (fact 79)",
        _read_before_written,
    ),
    TemplateRule(RuleId.IGNORE_SHARED_ON_BOTH_SIDES, _BOTH_SIDES, _ignore_shared_in_the_maker),
    TemplateRule(
        RuleId.TEMPLATE_COMPLETE_BEFORE_NAMED,
        "what has its name is whole, also after a power cut",
        _complete_before_named,
    ),
    TemplateRule(
        RuleId.TEMPLATE_NEVER_WRITTEN,
        "running clones see what is written to their memory's file (fact 82)",
        _new_memory_in_the_maker,
    ),
    TemplateRule(RuleId.MEMORY_AS_MADE, _AS_MADE, _memory_as_made_by_the_maker),
)
CLONE_RULES: tuple[TemplateRule, ...] = (
    TemplateRule(
        RuleId.TEMPLATE_CHECKED_BEFORE_STARTED,
        "QEMU maps any file of that size, and makes one that is missing (fact 81)",
        _checked_before_started,
    ),
    TemplateRule(
        RuleId.MEMORY_PRIVATE_IN_A_CLONE,
        "what a clone writes is its own, and it can write (facts 80 and 84)",
        _memory_private,
    ),
    TemplateRule(
        RuleId.TEMPLATE_NEVER_WRITTEN,
        "the next clone starts from the same file (facts 82 and 83)",
        _never_written,
    ),
    TemplateRule(RuleId.MEMORY_AS_MADE, _AS_MADE, _memory_as_made),
    TemplateRule(RuleId.IGNORE_SHARED_ON_BOTH_SIDES, _BOTH_SIDES, _ignore_shared_in_a_clone),
    TemplateRule(
        RuleId.IGNORE_SHARED_OFF_BEFORE_IT_RUNS,
        "what the clone saves with it on nobody else can load (fact 86)",
        _off_before_it_runs,
    ),
)
