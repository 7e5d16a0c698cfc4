"""The quirks of real QEMU that the semantics reproduce, each with a name and its fact.

Rules of this module: a quirk is a name for one surprising behaviour, quoted by the code that acts on
it.  A version profile (`versions.py`) says which quirks a QEMU has, so that a test or the explorer
can ask what a QEMU *without* one would do (`Profile.without`).  Facts are the numbers of
`specs/qemu-facts.md`; "simulator" marks what was found while this model was checked against QEMU.
"""

from __future__ import annotations

import enum

__all__ = ["Quirk"]


class Quirk(enum.Enum):
    """One surprising behaviour; the value says it in a sentence, with the fact's number."""

    TAG_CHECK_NEEDS_ALL = "fact 7: a save is refused only if every listed node has the tag"
    CLEANUP_DELETES_FIRST_MATCH = (
        "fact 7: the clean-up of a failed save deletes by name, first match"
    )
    TAG_TRUNCATED = "fact 8: a tag is cut at 255 bytes without a word"
    REVERT_ID_BEFORE_NAME = "fact 9: the revert inside a load takes the tag for an id first"
    DATA_FILE_PASSES_CHECK = "fact 10: an image with a data file fails only after the vmstate write"
    FAILED_LOAD_STAYS_RESTORE_VM = (
        "fact 18: a failed load leaves a running VM stopped in restore-vm"
    )
    DELETE_ONE_PER_CALL = "fact 22: snapshot-delete removes one duplicate per call"
    DELETE_WHILE_INACTIVE_ABORTS = "fact 35: QEMU aborts on a delete while the node is inactive"
    BACKGROUND_RESUMES_BY_ITSELF = "fact 41: background-snapshot resumes a VM that was stopped"
    BACKGROUND_FAILURE_FREEZES = "fact 41: a failed background-snapshot leaves the guest frozen"
    CANCEL_WHILE_PAUSED_IS_POSTMIGRATE = (
        "simulator: cancelling or failing in pre-switchover of a paused VM leaves it in postmigrate"
    )
    COMMIT_FAILURE_LEAVES_BASE_WRITABLE = (
        "fact 55: a commit that failed or was cancelled leaves its base writable"
    )
    COMMIT_BITMAP_STOPS_LOAD = "simulator: an overlay that is being committed cannot be loaded"
    VMSTATE_INTO_ENCRYPTED_ABORTS = (
        "fact 66: QEMU aborts when machine state is written into an encrypted image"
    )
    MULTIFD_JOB_CRASHES = "fact 64: with multifd on, a save or a load is the end of QEMU"
    MAPPED_RAM_SAVE_FAILS = "fact 64: with mapped-ram on, a save fails when the guest is stopped"
    LOAD_MINDS_MIGRATION_ERROR = (
        "fact 65: while a migration's error is remembered, a load reverts the disks and fails"
    )
    LOAD_THROUGH_THROTTLE_ABORTS = (
        "simulator: QEMU aborts (throttle_drain_end) on a snapshot-load through a throttle node"
    )
