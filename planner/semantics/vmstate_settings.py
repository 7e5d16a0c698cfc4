"""What migration settings and an earlier migration do to `snapshot-save` and `snapshot-load`.

Facts 64 and 65.  Not modelled: that memory which is a shared file is left out with `x-ignore-shared`,
since the guest's memory here is of one kind.
"""

from __future__ import annotations

from attrs import evolve

from planner.semantics.quirks import Quirk
from planner.semantics.state import VmState

__all__ = [
    "died_of_multifd",
    "forget_error",
    "job_refusal",
    "needs",
    "read_problem",
    "write_problem",
]

_MULTIFD = "multifd"
_COMPRESS = "compress"
_VALIDATED = frozenset({"mapped-ram", "x-ignore-shared"})


def job_refusal(state: VmState) -> str:
    """Why a save or a load is refused before anything is looked at."""
    if _MULTIFD in state.capabilities and not state.profile.has(Quirk.MULTIFD_JOB_CRASHES):
        return "Snapshots are not compatible with multifd"
    return ""


def died_of_multifd(state: VmState) -> str:
    """What QEMU dies of when it reads or writes machine state now; empty: it does not."""
    if _MULTIFD in state.capabilities and state.profile.has(Quirk.MULTIFD_JOB_CRASHES):
        return "SIGSEGV"
    return ""


def write_problem(state: VmState) -> str:
    """Why the machine state cannot be written now."""
    if "block" in state.capabilities:
        return "Block migration and snapshots are incompatible"
    if "mapped-ram" in state.capabilities and state.profile.has(Quirk.MAPPED_RAM_SAVE_FAILS):
        return "Error while writing VM state: Input/output error"
    return ""


def needs(state: VmState) -> tuple[str, ...]:
    """What the machine state that is written now has in it of the capabilities that are on."""
    return tuple(sorted(state.capabilities & (_VALIDATED | {_COMPRESS})))


def read_problem(state: VmState, needed: tuple[str, ...]) -> str:
    """Why machine state cannot be read now, when the disks are reverted already."""
    if state.migration.error and state.profile.has(Quirk.LOAD_MINDS_MIGRATION_ERROR):
        return state.profile.load_error_text
    if needed != tuple(sorted(state.capabilities & _VALIDATED)):
        return state.profile.mismatch_text
    return ""


def forget_error(state: VmState) -> VmState:
    """A save begins anew: what an earlier migration failed of is forgotten."""
    return evolve(state, migration=evolve(state.migration, error=""))
