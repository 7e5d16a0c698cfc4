"""The properties that a Promela model asserts at the end of every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.explore.promela_outside import PromelaOutside
from planner.explore.state import Setting

__all__ = ["SPIN_PROPERTIES", "any_of", "verdict", "word_for"]

SPIN_PROPERTIES = (
    "one-instant",
    "complete",
    "no-vmstate-left",
    "holds-machine-state",
    "atomic",
    "run-state-restored",
    "settings-restored",
    "pause-short",
    "guest-spared",
    "frozen-capture",
    "thawed",
    "loadable",
)
"""The properties that the Promela model always asserts, each as ``!(bad_PROPERTY)``."""


_OF_THE_GUEST = (
    "    bad_guest_spared = spoilt;",
    "    bad_frozen_capture = phase == DONE && unfrozen;",
    "    bad_thawed = frozen && !dead && !left_thaw;",
)


def word_for(value: bool) -> str:  # noqa: FBT001 - it writes a value
    """A truth as Promela spells it."""
    return "true" if value else "false"


def any_of(terms: list[str], empty: str) -> str:
    """Whether any of these is true; `empty`: what to say of none."""
    return " || ".join(terms) if terms else empty


def verdict(setting: Setting, outside: PromelaOutside, limits: Sequence[str]) -> Iterator[str]:
    """The end of every run: one property is chosen, and asserted, of `limits` too."""
    disks = range(len(setting.disks))
    there = [f"part[{disk}]" for disk in outside.internal]
    there += [f"over[{disk}]" for disk in outside.external]
    there += [f"copied[{disk}]" for disk in outside.copies.disks]
    some = any_of(there, "false")
    if outside.stream:
        there.append("stream == COMPLETE")
    every = " && ".join(there)
    olds = any_of([f"old[{disk}]" for disk in disks], "false")
    yield "  atomic {"
    yield "    first = 0; last = version + 1; machine = 0;"
    for disk in disks:
        yield f"    if :: part[{disk}] ->"
        yield f"      if :: part_content[{disk}] > first -> first = part_content[{disk}]"
        yield "      :: else -> skip fi;"
        yield f"      if :: until[{disk}] != 0 && until[{disk}] < last -> last = until[{disk}]"
        yield "      :: else -> skip fi;"
        whole = f"part_vmstate[{disk}] != 0 && part_vmstate[{disk}] != PARTIAL"
        yield f"      if :: machine == 0 && {whole} -> machine = part_vmstate[{disk}]"
        yield "      :: else -> skip fi"
        yield "    :: else -> skip fi;"
    yield from outside.instants()
    yield "    if :: machine != 0 && machine > first -> first = machine :: else -> skip fi;"
    yield "    if :: machine != 0 && machine + 1 < last -> last = machine + 1 :: else -> skip fi;"
    yield f"    bad_one_instant = phase == DONE && ({some}) && first >= last;"
    yield f"    bad_complete = (phase == DONE -> (!({every}) || {olds}) : budget == FAULTS);"
    guests = range(len(setting.of_guest))
    layers = any_of([f"layer[{disk}] != 0" for disk in guests], "false")
    yield f"    bad_no_vmstate_left = {layers};"
    yield f"    bad_holds_machine_state = phase == DONE && ({_misplaced(setting, outside)});"
    kept = any_of([f"(part[{disk}] && !left[{disk}])" for disk in disks], "false")
    wanted = word_for(setting.runs_after)
    yield f"    alone = phase == ABANDONED && {every} && (dead || running == {wanted});"
    yield f"    bad_atomic = phase != DONE && !alone && ({kept} || {outside.kept()});"
    yield "    bad_settings_restored = changed != 0 && !dead && !left_settings;"
    yield "    bad_pause_short = slow;"
    yield from _OF_THE_GUEST
    before = word_for(setting.runs_before)
    wanted = f"(phase == DONE || alone -> {wanted} : {before})"
    wrong = f"(inactive || running != {wanted})"
    yield f"    bad_run_state_restored = !dead && !left_paused && {wrong};"
    broken = f"!({every}) || {olds} || first >= last"
    if setting.vmstate >= 0:
        at = f"part_vmstate[{setting.vmstate}]"
        broken += f" || {at} == 0 || {at} == PARTIAL"
    yield f"    bad_loadable = phase == DONE && ({broken})"
    yield "  };"
    yield "  if"
    for word in (*SPIN_PROPERTIES, *limits):
        yield f"  :: assert(!(bad_{word.replace('-', '_')}))"
    yield "  fi"


def _misplaced(setting: Setting, outside: PromelaOutside) -> str:
    terms = ["stream != COMPLETE"] if outside.stream else []
    for disk in range(len(setting.disks)):
        held = f"(part[{disk}] && part_vmstate[{disk}] != 0)"
        if disk == setting.vmstate:
            terms.append(f"!({held} && part_vmstate[{disk}] != PARTIAL)")
        else:
            terms.append(held)
    return any_of(terms, "false")
