"""Copies of disks in the Promela model: a job, a node, and what the file holds.

Written from the setting, as `planner.explore.promela` is.  A job is one number; the file is named with
the overlays' files, and goes with them.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.instruction import Completion, CopyOf, Instruction, SideEffect
from planner.explore.state import Setting
from planner.model.operations import Kind

__all__ = ["COPIES_DECLARED", "PromelaCopies"]

COPIES_DECLARED = """\
#define COPYING 1
#define COPY_FAILED 2
byte job[N];         /* of the disk's copy: 0 none, else COPYING or COPY_FAILED */
bool target[N];      /* the copy's file is a node of QEMU's */
byte copy_content[N]; byte copy_until[N]; bool copied[N];
bool io_error;       /* the guest stands, since its own write failed with the copy (fact 113) */
bool spoilt;         /* or it was told of that error */
"""

_DISKLESS = "false"


class PromelaCopies:
    """The pieces of one setting."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._number = {name: number for number, name in enumerate(setting.disks)}
        self.disks = [d for d in range(len(setting.disks)) if setting.copies >> d & 1]
        self._at_end = any(i.copy_of is CopyOf.END for i in setting.instructions)
        self._grouped = any(i.completion is Completion.GROUPED for i in setting.instructions)

    def written(self, disk: int) -> str:
        """What the guest's write to a disk means to what its copy holds."""
        if disk not in self.disks:
            return ""
        known = f"copied[{disk}]" if self._at_end else f"(copied[{disk}] || job[{disk}] != 0)"
        guard = f"{known} && copy_until[{disk}] == 0"
        return f" if :: {guard} -> copy_until[{disk}] = version :: else -> skip fi;"

    def effect(self, instruction: Instruction) -> str:
        """What an instruction does besides its operations."""
        disk = self._number.get(instruction.effect_disk, -1)
        if instruction.effect is SideEffect.CREATE_COPY:
            return f" overlay_file[{disk}] = true;{self._slow()}"
        if instruction.effect is SideEffect.REMOVE_TARGET:
            free = f"target[{disk}] && job[{disk}] == 0"
            return f" if :: {free} -> target[{disk}] = false :: else -> failing = true fi;"
        return ""

    def _slow(self) -> str:
        return " slow = slow || !running;" if self._setting.runs_before else ""

    def can(self, kind: Kind, disk: int) -> str:
        """When QEMU does an operation instead of failing it; empty: always."""
        if kind is Kind.BEGIN_COPY:
            return f"target[{disk}] && job[{disk}] == 0 && !inactive"
        if kind is not Kind.END_COPY:
            return ""
        sound = [f"job[{other}] != COPY_FAILED" for other in self.disks]
        can = " && ".join([f"job[{disk}] == COPYING", *sound])
        return f"copied[{disk}] || ({can})" if self._grouped else can

    def copying(self) -> str:
        """Whether a job is under way."""
        return f"({' || '.join(f'job[{d}] == COPYING' for d in self.disks) or _DISKLESS})"

    def doing(self, kind: Kind, disk: int) -> str:
        """What an operation on a copy does."""
        now = f"copy_content[{disk}] = content[{disk}]; copy_until[{disk}] = 0; captured = true;"
        if kind is Kind.ADD_TARGET:
            return f"target[{disk}] = true; overlay_file[{disk}] = true;{self._slow()}"
        if kind is Kind.BEGIN_COPY:
            return f"job[{disk}] = COPYING; {now}"
        ended = f"job[{disk}] = 0; copied[{disk}] = true;{' ' + now if self._at_end else ''}"
        if self._grouped:
            ended = self._all_jobs("job[{0}] = 0; copied[{0}] = true")
        return ended + (self._slow() if self._setting.runs_after else "")

    def _all_jobs(self, does: str) -> str:
        """Do something to every job that there is."""
        each = (f"if :: job[{d}] != 0 -> {does.format(d)} :: else -> skip fi;" for d in self.disks)
        return " ".join(each)

    def struck(self, disk: int) -> str:
        """What an error leaves of a job."""
        if self._grouped:
            failed = self._all_jobs("job[{0}] = COPY_FAILED")
            return f"if :: job[{disk}] != 0 -> {failed} skip :: else -> skip fi;"
        return f"if :: job[{disk}] != 0 -> job[{disk}] = COPY_FAILED :: else -> skip fi;"

    def by_itself(self) -> Iterator[str]:
        """What the guest overwrites cannot be copied, and no QEMU spares it (fact 113)."""
        if self._setting.spares_guest:
            return
        for disk in self.disks:
            alive = "phase <= ORPHANED && phase != OFFLINE && running && budget > 0"
            when = f"{alive} && job[{disk}] == COPYING"
            fails = f"{when} -> budget--; {self.struck(disk)}"
            yield f"  :: atomic {{ {fails} running = false; io_error = true }}"
            yield f"  :: atomic {{ {fails} spoilt = true }}"

    def ended(self) -> str:
        """A further guard of what undo does later: no copy is left to be undone."""
        waits = [f"((job[{d}] != 0 || target[{d}]) && !left[{d}])" for d in self.disks]
        return f" && !({' || '.join(waits)})" if waits else ""

    def undo(self, ready: str) -> Iterator[str]:
        """The job ends, then the node goes."""
        jobs = " || ".join(f"(job[{d}] != 0 && !left[{d}])" for d in self.disks) or _DISKLESS
        for disk in self.disks:
            ends = self._all_jobs("job[{0}] = 0") if self._grouped else f"job[{disk}] = 0;"
            yield from self._undone(f"{ready} && job[{disk}] != 0", ends, disk)
            none = f"{ready} && !({jobs}) && job[{disk}] == 0 && target[{disk}]"
            yield from self._undone(none, f"target[{disk}] = false;", disk)

    def _undone(self, guard: str, does: str, disk: int) -> Iterator[str]:
        when = f"UNDOES{guard} && !left[{disk}]"
        yield f"  :: atomic {{ {when} -> {does} }}"
        struck = f"{when} && budget > 0 -> budget--;"
        yield f"  :: atomic {{ {struck} left[{disk}] = true }}"
        yield f"  :: atomic {{ {struck} phase = LOOKING }}"
        yield f"  :: atomic {{ {struck} {does} phase = LOOKING }}"

    def died(self) -> str:
        """What goes with QEMU."""
        gone = [f"job[{d}] = 0; target[{d}] = false;" for d in self.disks]
        return " ".join([*gone, "io_error = false;"])

    def instants(self) -> Iterator[str]:
        """The copies among what has to be of one instant."""
        for disk in self.disks:
            content, until = f"copy_content[{disk}]", f"copy_until[{disk}]"
            yield f"    if :: copied[{disk}] ->"
            yield f"      if :: {content} > first -> first = {content} :: else -> skip fi;"
            yield f"      if :: {until} != 0 && {until} < last -> last = {until} :: else -> skip fi"
            yield "    :: else -> skip fi;"

    def kept(self) -> list[str]:
        """What of the copies a run that is undone has left without saying so."""
        return [f"((job[{d}] != 0 || target[{d}]) && !left[{d}])" for d in self.disks]
