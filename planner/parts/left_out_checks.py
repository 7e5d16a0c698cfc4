"""What a snapshot left out, and whether it is still what it was.

A disk that is no part is not taken back by a load: the guest, whose memory is of then, finds what the
disk holds now.  Where nobody wrote to it since, that is the same; else the guest's file system on it is
broken, mostly without a word.  So what was left out is recorded just before the snapshot's instant, and
compared before a load: that a write came in between is then taken for one that came after, never the
other way round.  The same with what lies in a drive: the guest goes on with the medium that it knew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from planner.errors import Problem
from planner.model.facts import Disk, Drive, Facts
from planner.model.file_record import UNSEEN, FileRecord
from planner.parts.accepting import LEFT_OUT_CHANGED
from planner.parts.machine_checks import device_label, device_ranks
from planner.parts.manifest import LeftOut, Manifest
from planner.parts.recorded_files import evidence_of_change

__all__ = ["left_out_files", "left_out_of", "left_out_problems"]


def left_out_of(excluded: Iterable[str], facts: Facts) -> Iterator[LeftOut]:
    """What a run leaves out: the disks of these names that a guest's device uses, and empty drives."""
    names = set(excluded)
    records = dict(facts.files)
    removable = {drive.key for drive in facts.drives}
    for disk in facts.disks:
        if disk.name in names and disk.attached:
            yield LeftOut(
                disk=disk.name,
                drive_id=disk.drive_id,
                qdev=disk.qdev,
                file=disk.filename,
                removable=_key(disk) in removable,
                writable=not disk.read_only,
                record=records.get(disk.filename, UNSEEN),
            )
    for drive in facts.drives:
        if not drive.file:
            yield LeftOut(disk=drive.name, drive_id=drive.id, qdev=drive.qdev, removable=True)


def _key(disk: Disk) -> str:
    return disk.drive_id or disk.qdev


def left_out_files(manifest: Manifest) -> Iterator[str]:
    """The files that have to be looked at for `left_out_problems`."""
    for one in manifest.left_out:
        if one.file and one.record.known:
            yield one.file


def left_out_problems(
    manifest: Manifest, files: Mapping[str, FileRecord], facts: Facts | None = None
) -> Iterator[Problem]:
    """What was left out and is not what it was, or of which nobody can tell.

    Args:
        manifest: The snapshot.
        files: By path, what the files are now; of none where they are another machine's.
        facts: The VM that is to load it; None: there is none yet.
    """
    for one in manifest.left_out:
        if manifest.vmstate is None and not one.writable:
            continue  # without machine state nothing in the guest remembers a medium
        words = _medium(manifest, one, facts) if one.removable and facts is not None else ""
        words = words or _image(one, facts) or _content(one, files)
        if words:
            yield Problem(LEFT_OUT_CHANGED, one.disk, words, _remedy(one))


def _remedy(one: LeftOut) -> str:
    accept = f"--accept-changed {one.disk}"
    if one.removable:
        return f"put the medium in that was there, or load with {accept}"
    return (
        f"bring back what it held then, or load with {accept}: the guest finds there what it holds now, "
        "and a file system that it has mounted may break"
    )


def _medium(manifest: Manifest, one: LeftOut, facts: Facts) -> str:
    """How what lies in a drive differs from what lay there; empty: it does not."""
    drive = _drive(manifest, one, facts)
    if drive is None:
        return "the drive is gone"
    if drive.file == one.file:
        return ""
    return f"in the drive was {one.file or 'nothing'}, and is {drive.file or 'nothing'}"


def _drive(manifest: Manifest, one: LeftOut, facts: Facts) -> Drive | None:
    before, after = device_ranks(manifest, facts)
    for drive in facts.drives:
        if one.drive_id and drive.id:
            if drive.id == one.drive_id:
                return drive
        elif device_label(drive.qdev, after) == device_label(one.qdev, before):
            return drive
    return None


def _image(one: LeftOut, facts: Facts | None) -> str:
    """How the image of a disk is another one; empty: it is not, or the disk is gone."""
    disks = () if facts is None or one.removable else facts.disks
    now = next((disk.filename for disk in disks if disk.name == one.disk), one.file)
    return "" if now == one.file else f"it was left out; its image was {one.file} and is {now}"


def _content(one: LeftOut, files: Mapping[str, FileRecord]) -> str:
    if not one.file:
        return ""
    now = files.get(one.file, UNSEEN)
    if not one.record.known:
        if not one.writable:
            return ""
        return (
            f"it was left out, and whether {one.file} was written to since cannot be told: it is no "
            "regular file of this machine"
        )
    if not now.known:
        return f"it was left out, and {one.file} cannot be looked at now"
    what = evidence_of_change(one.record, now)
    return f"it was left out, and {one.file} was written to since: {what}" if what else ""
