"""From which run states a load leads to a guest that runs, and which of them need a reset first.

A guest that shut down, crashed, sleeps or was stopped by an error of its storage can go back to a
snapshot.  From some states QEMU does so as from any guest that stands; from others it lets no guest run
until the machine was reset (fact 77).  A reset loses what the guest has in memory, also where the load
fails then, so it is the user's choice wherever there is something to lose, or QEMU may end by it.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from planner.compile.refusals import WAYS_OUT
from planner.errors import Problem
from planner.model.facts import Disk, Facts
from planner.model.hardware import BUILT_IN
from planner.model.request import RunStateAfter

__all__ = ["ENDED", "Wanted", "is_reset_first", "keeps_code", "run_state_problems"]

ENDED = ("guest-panicked", "io-error", "internal-error", "shutdown", "suspended")
"""Nobody stopped these, so as before is running."""

_STANDS = ("running", "paused", "restore-vm", "prelaunch", "shutdown")
_KEEPS_NAME = ("guest-panicked", "io-error")
"""QEMU goes on to say so after a load, until `cont` (facts 68 and 77)."""
_SLEEPS_SINCE = (9, 0)
"""From here on a guest that sleeps is stopped, loaded and continued like one that runs (fact 77)."""
_KEEPS_CODE_SINCE = (10, 2)
_FORGETS_REQUESTS = ("virtio-blk-", "scsi-")
"""Devices that a load makes forget the request that failed (fact 68)."""


@frozen
class Wanted:
    """What a person wants of a load, as far as the run state is concerned.

    Attributes:
        after: What the VM does then.
        reset: Whether it may be reset first.
    """

    after: RunStateAfter = RunStateAfter.AS_BEFORE
    reset: bool = False


def is_reset_first(facts: Facts, wanted: Wanted) -> bool:
    """Whether a load sends `system_reset` first."""
    state = facts.run_state
    if state == "shutdown":
        return True  # there is no guest left that could lose anything
    if not wanted.reset:
        return False
    if state in _KEEPS_NAME:
        stands = wanted.after is RunStateAfter.PAUSED
        return stands or (state == "io-error" and keeps_code(facts))
    return state == "internal-error" or _sleeps_for_ever(facts)


def keeps_code(facts: Facts) -> bool:
    """Whether code that QEMU has translated outlives a load into a guest that stands (fact 76)."""
    hardware = facts.hardware
    translates = hardware is not None and hardware.accelerator == "tcg"
    return translates and _version(facts) >= _KEEPS_CODE_SINCE


def run_state_problems(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    """Why the VM's run state lets no load lead to a guest that runs, or stands as is asked for."""
    state = facts.run_state
    if state == "io-error":
        yield from _kept_requests(facts)
    if state in _KEEPS_NAME:
        yield from _keeps_name(facts, wanted)
    elif state == "internal-error" or _sleeps_for_ever(facts):
        if not wanted.reset:
            yield _needs_reset(facts)
    elif state not in (*_STANDS, "suspended"):
        yield Problem(
            "run-state-unsupported",
            "vm",
            f"its run state is {state!r}, from which no load is known to be right",
            WAYS_OUT.get(state, "bring it to running or paused"),
        )


def _needs_reset(facts: Facts) -> Problem:
    others = {"suspended": "wake the guest with `system_wakeup`, or "}
    return Problem(
        "run-state-unsupported",
        "vm",
        f"its run state is {facts.run_state!r}, from which no guest runs that was loaded "
        "(facts 69 and 77)",
        f"{others.get(facts.run_state, '')}load with --reset, which sends `system_reset` first: it ends "
        "a QEMU that was started with -no-reboot",
    )


def _keeps_name(facts: Facts, wanted: Wanted) -> Iterator[Problem]:
    if wanted.after is RunStateAfter.PAUSED and not wanted.reset:
        words = (
            f"after a load QEMU still says {facts.run_state!r}, and only `cont` leads out of that"
        )
        yield Problem(
            "run-state-stays",
            "vm",
            f"{words} (fact 77)",
            "use --run-state-after running, or --reset, which sends `system_reset` first",
        )


def _kept_requests(facts: Facts) -> Iterator[Problem]:
    """Disks whose device would send the request that failed once more, into what was loaded."""
    attached = [disk for disk in facts.disks if disk.attached]
    failed = [disk for disk in attached if disk.io_error] or attached
    for disk in failed:
        kind = _device_type(facts, disk)
        if not kind.startswith(_FORGETS_REQUESTS):
            called = kind or "a device of a type that cannot be seen"
            yield Problem(
                "request-kept",
                disk.name,
                f"its request failed, and {called} keeps it over a load and a reset: `cont` would send "
                "it again, into the guest and the disk that were loaded (fact 68)",
                "see to the storage (is its file system full?), send `cont`, and load when the VM runs",
            )


def _device_type(facts: Facts, disk: Disk) -> str:
    """QEMU's name of the type of a disk's device; empty: it cannot be seen."""
    for device in facts.devices:
        if disk.qdev in (device.id, device.path) or disk.qdev.startswith(f"{device.path}/"):
            return device.type
    built_in = () if facts.hardware is None else facts.hardware.built_in
    numbers = {f"{BUILT_IN}/device[{number}]": kind for number, kind in built_in}
    return numbers.get(disk.qdev, "")


def _sleeps_for_ever(facts: Facts) -> bool:
    return facts.run_state == "suspended" and _version(facts) < _SLEEPS_SINCE


def _version(facts: Facts) -> tuple[int, int]:
    return facts.qemu.major, facts.qemu.minor
