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
    COPY_AFTER_RESUME = "copy-after-resume"
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
    MEMORY_IN_A_SHARED_FILE = "memory-in-a-shared-file"
    MAKER_NEVER_RUNS = "maker-never-runs"
    READ_BEFORE_WRITTEN = "read-before-written"
    IGNORE_SHARED_ON_BOTH_SIDES = "ignore-shared-on-both-sides"
    IGNORE_SHARED_OFF_BEFORE_IT_RUNS = "ignore-shared-off-before-it-runs"
    TEMPLATE_COMPLETE_BEFORE_NAMED = "template-complete-before-named"
    TEMPLATE_CHECKED_BEFORE_STARTED = "template-checked-before-started"
    TEMPLATE_NEVER_WRITTEN = "template-never-written"
    MEMORY_PRIVATE_IN_A_CLONE = "memory-private-in-a-clone"
    MEMORY_AS_MADE = "memory-as-made"
