"""The rules that the proof of a program checks, by the ids of `specs/invariants.md`."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RuleId"]


class RuleId(StrEnum):
    """What may be said to be broken; who reports a rule takes it from here, so that none is left out."""

    VMSTATE_BEFORE_SNAPSHOT = "vmstate-before-snapshot"
    SNAPSHOT_BEFORE_DISCARD = "snapshot-before-discard"
    ONE_INSTANT = "one-instant"
    OVERLAY_READY = "overlay-ready"
    NODES_ACTIVE = "nodes-active"
    TRACKING_BEFORE_RESUME = "tracking-before-resume"
    STREAM_AFTER_RESUME = "stream-after-resume"
    ACTIVE_BEFORE_UNDO = "active-before-undo"
    NO_ORDER_IN_A_TRANSACTION = "no-order-in-a-transaction"
    FROZEN_CAPTURE = "frozen-capture"
    OLD_UNTIL_NEW = "old-until-new"
    KNOWN_SETTINGS = "known-settings"
    COMPLETE = "complete"
    NOTHING_ELSE = "nothing-else"
    SETTINGS_RESTORED = "settings-restored"
    RUN_STATE_RESTORED = "run-state-restored"
    UNDO_COMPLETE = "undo-complete"
    COVERS_TRUTH = "covers-truth"
    OUTCOME_SEEN = "outcome-seen"
    GROUP_INSTANT = "group-instant"
