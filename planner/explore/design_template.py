"""What a new design file holds: a design that can be explored at once, with comments to change it by."""

from __future__ import annotations

import json

__all__ = ["PURPOSES", "design_template"]

PURPOSES = ("save", "load", "delete")

_HEAD = """\
# A design: what a client sends, and what each command asserts about itself.  Every key is explained in
# docs/design-language.md; `snapplan schema design-file` prints the schema.  Explore it with
#   snapplan explore REQUEST --facts FACTS --design THIS-FILE --watch
design: {name}
summary: {summary}
# exists: QEMU 6.0 and later      # leave it out where no QEMU has it
proposed-by:
  - who: your name
    where: list, date, Message-ID
# client: does-not-look           # careful (default), does-not-look, does-not-undo
"""
_SAVE = """\
# capture: stopped                # machine state beside the disks: stopped, live, background, image
instructions:
  # Each instruction is sent once, in this order.  What a request does not need is left out, and told.
  - name: stop
    does: PauseGuest
  - name: machine-snapshot-internal-sync
    # in-order is a promise; any-order is none: every order is then tried.  (vmstate) means the disk with
    # the machine state, (others) all others; nothing means all.
    does:
      in-order: [WriteVmstate, {any-order: [SnapshotDisk]}, DiscardVmstate]
    atomic: true                  # its disks are drained together, until all are captured
    on-failure: nothing           # it takes back what it did; else cleaned-up, what-was-done (default)
    # existing-tag: refuse-if-all # refuse (default), refuse-if-all, overwrite
    # stops-guest: true           # it stops the guest itself: leave out `stop` and `cont` then
    # vmstate-in: snapshot        # active-layer (default); snapshot: into the one that was taken
    # vmstate-of: pause           # write (default); pause: the memory was write-protected at the pause
  - name: cont
    does: ResumeGuest
"""
_LOAD = """\
instructions:
  # REQUEST is the one that saved the snapshot: every disk of it holds the tag.
  - name: transaction
    does:
      in-order: [PauseGuest, {any-order: [RevertDisk]}, ReadVmstate, ResumeGuest]
    stops-guest: true             # it lets the guest run again where it fails
    atomic: true
    on-failure: nothing           # nothing: disks and memory are then as before; what-was-done (default)
"""
_DELETE = """\
instructions:
  # REQUEST is the one that saved the snapshot: every disk of it holds the tag.
  - name: transaction
    does: {any-order: [DeleteDiskSnapshot]}
    # each-alone: true            # one command for each disk
    atomic: true
    on-failure: nothing           # nothing: all or none; what-was-done (default)
    # finds: tag                  # id (default); tag: the first of the tag, whoever made it
"""
_ENDS = """\
finding: >-
  What the verdict means.
"""
_BODIES = {
    "save": (_SAVE, "stop; one action that saves everything in order; cont"),
    "load": (_LOAD, "one transaction that switches all disks and the machine state"),
    "delete": (_DELETE, "one transaction of deletions"),
}


def design_template(name: str, purpose: str = "save") -> str:
    """A design file's text.

    Args:
        name: The design's name.
        purpose: One of `PURPOSES`.
    """
    body, summary = _BODIES[purpose]
    return _HEAD.format(name=json.dumps(name), summary=summary) + body + _ENDS
