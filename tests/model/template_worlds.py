"""A template's making and a clone's start done right, and the wrong ways that rules forbid."""

from collections.abc import Callable

from attrs import evolve

from planner.program.rule_ids import RuleId
from planner.program.template_acts import (
    Act,
    ActKind,
    MadeFrom,
    MemoryFile,
    checked,
    ended,
    named,
    recorded,
    sent,
    started,
    synced,
)

__all__ = ["CLONE", "MAKING", "TEMPLATE", "WRONG_CLONES", "WRONG_MAKINGS", "capability"]

RAM, STATE = "/t/ram", "/t/state"
TEMPLATE = MadeFrom((MemoryFile("pc.ram", 64 << 20, RAM),), STATE)


def capability(*, on: bool) -> Act:
    changes = [{"capability": "x-ignore-shared", "state": on}]
    return sent("migrate-set-capabilities", {"capabilities": changes})


def qemu(memory: str, *more: str) -> Act:
    words = ("qemu", "-object", memory, "-machine", "pc,memory-backend=pc.ram", *more)
    return started(*words, "-S", "-incoming", "defer")


MAKING = (
    qemu(f"memory-backend-file,id=pc.ram,size=64M,mem-path={RAM}.tmp,share=on"),
    sent("migrate-incoming", {"uri": "file:source"}),
    capability(on=True),
    sent("migrate", {"uri": f"file:{STATE}.tmp"}),
    ended(),
    synced(f"{RAM}.tmp"),
    synced(f"{STATE}.tmp"),
    named(f"{RAM}.tmp", RAM),
    named(f"{STATE}.tmp", STATE),
    recorded(RAM, STATE),
)
PRIVATE = f"memory-backend-file,id=pc.ram,size=64M,mem-path={RAM},share=off"
CLONE = (
    checked(RAM),
    checked(STATE),
    qemu(f"{PRIVATE},readonly=on,rom=off"),
    capability(on=True),
    sent("migrate-incoming", {"uri": f"file:{STATE}"}),
    capability(on=False),
    sent("cont"),
)

Acts = tuple[Act, ...]


def without(acts: Acts, kind: ActKind, file: str = "") -> Acts:
    return tuple(act for act in acts if act.kind is not kind or (file and act.file != file))


def with_words(acts: Acts, change: Callable[[str], str]) -> Acts:
    return tuple(
        evolve(act, words=tuple(map(change, act.words))) if act.words else act for act in acts
    )


def replaced(acts: Acts, old: str, new: str) -> Acts:
    return with_words(acts, lambda word: word.replace(old, new))


def moved(acts: Acts, at: int, to: int) -> Acts:
    left = [*acts[:at], *acts[at + 1 :]]
    return (*left[:to], acts[at], *left[to:])


READ_LATE = (MAKING[0], *MAKING[2:4], capability(on=False), MAKING[1], *MAKING[4:])
WRONG_MAKINGS: dict[str, tuple[RuleId, Acts]] = {
    "memory that is not shared": (
        RuleId.MEMORY_IN_A_SHARED_FILE,
        replaced(MAKING, "share=on", "share=off"),
    ),
    "the maker runs on": (
        RuleId.MAKER_NEVER_RUNS,
        (*MAKING[:4], sent("cont"), *MAKING[4:]),
    ),
    "written before it was read": (RuleId.READ_BEFORE_WRITTEN, READ_LATE),
    "off when it is written": (
        RuleId.IGNORE_SHARED_ON_BOTH_SIDES,
        (*MAKING[:2], *MAKING[3:]),
    ),
    "on when the source is read": (RuleId.IGNORE_SHARED_ON_BOTH_SIDES, moved(MAKING, 1, 2)),
    "named before it is synced": (
        RuleId.TEMPLATE_COMPLETE_BEFORE_NAMED,
        without(MAKING, ActKind.SYNC, f"{RAM}.tmp"),
    ),
    "synced while its QEMU still lives": (
        RuleId.TEMPLATE_COMPLETE_BEFORE_NAMED,
        moved(MAKING, 5, 1),
    ),
    "recorded before it has its name": (
        RuleId.TEMPLATE_COMPLETE_BEFORE_NAMED,
        moved(MAKING, 9, 7),
    ),
    "emptied when the maker ends": (
        RuleId.TEMPLATE_NEVER_WRITTEN,
        replaced(MAKING, "share=on", "share=on,discard-data=on"),
    ),
    "another id": (RuleId.MEMORY_AS_MADE, replaced(MAKING, "pc.ram", "mem0")),
}
WRONG_CLONES: dict[str, tuple[RuleId, Acts]] = {
    "nobody looks at the memory": (
        RuleId.TEMPLATE_CHECKED_BEFORE_STARTED,
        without(CLONE, ActKind.CHECK),
    ),
    "memory that is shared": (
        RuleId.MEMORY_PRIVATE_IN_A_CLONE,
        replaced(CLONE, "share=off", "share=on"),
    ),
    "opened to be written": (
        RuleId.TEMPLATE_NEVER_WRITTEN,
        replaced(CLONE, ",readonly=on,rom=off", ""),
    ),
    "another file": (RuleId.MEMORY_AS_MADE, replaced(CLONE, RAM, "/t/other")),
    "off when it is read": (RuleId.IGNORE_SHARED_ON_BOTH_SIDES, (*CLONE[:3], *CLONE[4:])),
    "left on": (RuleId.IGNORE_SHARED_OFF_BEFORE_IT_RUNS, (*CLONE[:5], *CLONE[6:])),
}
