"""Whether the files that a snapshot consists of are still the very files that were saved.

What the guest goes on writing to is no matter here: only streams of machine state, frozen images, and
the images under a part.  Nobody may write to these, so each is compared with what was recorded of it;
what proves another content, and what is only a hint, says `planner.parts.recorded_files`.  The files of
its template are looked at by whoever wants that: the snapshot is whole without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.errors import Problem
from planner.model.file_record import FileRecord
from planner.parts.manifest import Manifest
from planner.parts.recorded_files import FoundFile, RecordedFile, Role, evidence_of_change

__all__ = ["file_notes", "file_problems", "recorded_files", "template_files"]


def recorded_files(manifest: Manifest) -> Iterator[RecordedFile]:
    """Every file of a snapshot that was looked at when it was finished."""
    for part in manifest.parts:
        yield from (recorded for recorded in part.recorded_files if recorded.record.known)


def _template_changed(recorded: RecordedFile, what: str) -> Problem:
    return Problem(
        "template-differs",
        recorded.subject,
        f"{recorded.role.words} {recorded.file} is not what was made: {what}",
        "make another one: `snapplan template --replace`; the snapshot itself is not concerned",
    )


_TEMPLATE = Role("the template's file", _template_changed, missing_told=True)


def template_files(manifest: Manifest) -> Iterator[RecordedFile]:
    """Every file that is the snapshot's template alone."""
    if manifest.template is not None:
        own = {*manifest.template.own_files}
        for file, record in manifest.template.records:
            if file in own:
                yield RecordedFile(file, _TEMPLATE, file, record)


def file_problems(manifest: Manifest, found: Mapping[str, FoundFile]) -> Iterator[Problem]:
    """Which files are others than those that were saved.

    Args:
        manifest: What was recorded.
        found: By path, the files as they are; those that are not in it were not looked at.
    """
    for recorded in (*recorded_files(manifest), *template_files(manifest)):
        looked = found.get(recorded.file)
        if looked is None:
            continue
        if looked.record is not None:
            yield from _changed(recorded, looked.record)
        elif recorded.role.missing_told:
            words = f"{recorded.role.words} {recorded.file} is not there"
            yield Problem("file-missing", recorded.subject, words, "put it back")


def _changed(recorded: RecordedFile, now: FileRecord) -> Iterator[Problem]:
    was, role = recorded.record, recorded.role
    if not role.length_told and was.size_bytes != now.size_bytes:
        return
    what = evidence_of_change(was, now)
    if what:
        yield role.changed(recorded, what)


def file_notes(
    manifest: Manifest, found: Mapping[str, FoundFile], *, deep: bool = False
) -> Iterator[str]:
    """What could not be proved of files that nothing speaks against.

    Args:
        manifest: What was recorded.
        found: By path, the files as they are.
        deep: Whether every content was to be compared.
    """
    for recorded in (*recorded_files(manifest), *template_files(manifest)):
        looked = found.get(recorded.file)
        if looked is None or looked.record is None or any(_changed(recorded, looked.record)):
            continue
        was, now = recorded.record, looked.record
        if now.sha256:
            continue
        name = f"{recorded.role.words}, {recorded.file}"
        if looked.unread:
            yield f"the content of {name}: it cannot be read ({looked.unread})"
        elif was.inode != now.inode:
            yield (
                f"the content of {name}: it is another file than the one that was saved, a copy "
                "perhaps, of the same length and time; no digest was made (`apply --digest`)"
            )
        elif deep:
            yield f"the content of {name}: no digest was made (`apply --digest`); length and time agree"
    for part in manifest.parts:
        if part.external and not part.record.known:
            yield f"whether {part.file} was written to since: nothing was recorded of it"
