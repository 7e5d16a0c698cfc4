"""Copies of disks in the lockstep: begun, held up, cancelled, dismissed, closed, in any order.

A copy with a speed of a byte a second does not end by itself: so both sides are asked at the same moment
what they say while one is under way.
"""

from tests.model.lockstep import OVERLAYS, Sequence

__all__ = ["BackupSequence"]

SOURCES = ("disk0", "disk1", "back0", "raw0", "thr0", "drv0", "free0")
ODD = ("nope", *OVERLAYS)


class BackupSequence(Sequence):
    """Draws commands about copies, and some that a copy is in the way of."""

    def next(self):
        if self.queue and self.random.random() < 0.6:
            return self.queue.pop(0)
        kinds = (
            [self.life] * 3
            + [self.transaction] * 3
            + [self.cancel] * 2
            + [self.internal, self.delete_internal, self.stop, self.cont, self.dismiss]
            + [self.add_overlay, self.remove_node]
        )
        return self.random.choice(kinds)()

    def life(self):
        """A copy from its node to the end of it, with other commands between."""
        target = self.random.choice(OVERLAYS)
        self.queue.append(("transaction", {"actions": [self.copy(target)]}))
        self.queue.append(self.cancel())
        self.queue.append(("job-dismiss", {"id": self.last_job}))
        self.queue.append(("blockdev-del", {"node-name": target}))
        return self.add_overlay(target)

    def copy(self, target=None):
        source = self.random.choice(SOURCES if self.random.random() < 0.9 else ODD)
        _, arguments = self.job("blockdev-backup", device=source, sync="full")
        arguments["target"] = target or self.random.choice((*OVERLAYS, "disk1", "nope"))
        if self.random.random() < 0.8:
            arguments["auto-dismiss"] = False
        if self.random.random() < 0.6:
            arguments["speed"] = 1
        return {"type": "blockdev-backup", "data": arguments}

    def action(self):
        roll = self.random.random()
        if roll < 0.1:
            return {"type": "abort", "data": {}}
        if roll < 0.3:
            return {"type": "blockdev-snapshot-internal-sync", "data": self.internal()[1]}
        return self.copy()

    def cancel(self):
        verb = self.random.choice(("job-cancel",) * 4 + ("job-complete", "job-finalize"))
        return verb, {"id": self.last_job}
