"""Copies of disks in the lockstep: begun, held up, cancelled, dismissed, closed, in any order.

A copy with a speed of a byte a second does not end by itself: so both sides are asked at the same moment
what they say while one is under way.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.experiment.lockstep.drawing import OVERLAYS, Arguments, Command, Sequence

__all__ = ["CopySequence"]

SOURCES = ("disk0", "disk1", "back0", "raw0", "thr0", "drv0", "free0")
ODD = ("nope", *OVERLAYS)


class CopySequence(Sequence):
    """Draws commands about copies, and some that a copy is in the way of."""

    def _kinds(self) -> list[Callable[[], Command]]:
        return (
            [self._life] * 3
            + [self._transaction] * 3
            + [self._cancel] * 2
            + [self._internal, self._delete_internal, self._stop, self._cont, self._dismiss]
            + [self._add_overlay, self._remove_node]
        )

    def _life(self) -> Command:
        """A copy from its node to the end of it, with other commands between."""
        target = self.random.choice(OVERLAYS)
        self._queue.append(("transaction", {"actions": [self._copy(target)]}))
        self._queue.append(self._cancel())
        self._queue.append(("job-dismiss", {"id": self._last_job}))
        self._queue.append(("blockdev-del", {"node-name": target}))
        return self._add_overlay(target)

    def _copy(self, target: str = "") -> Arguments:
        source = self.random.choice(SOURCES if self.random.random() < 0.9 else ODD)
        _, arguments = self._job("blockdev-backup", device=source, sync="full")
        arguments["target"] = target or self.random.choice((*OVERLAYS, "disk1", "nope"))
        if self.random.random() < 0.8:
            arguments["auto-dismiss"] = False
        if self.random.random() < 0.6:
            arguments["speed"] = 1
        return {"type": "blockdev-backup", "data": arguments}

    def _action(self) -> Arguments:
        roll = self.random.random()
        if roll < 0.1:
            return {"type": "abort", "data": {}}
        if roll < 0.3:
            return {"type": "blockdev-snapshot-internal-sync", "data": self._internal()[1]}
        return self._copy()

    def _cancel(self) -> Command:
        verb = self.random.choice(("job-cancel",) * 4 + ("job-complete", "job-finalize"))
        return verb, {"id": self._last_job}
