"""Writes a program as a QMP session, or as a script that a person can run, instead of running it.

The script needs Python's standard library and nothing else; it is `replay.py` with the steps put in.  It
waits as the executor does (jobs concluded, run states and migrations seen), does what is to be done with
files itself, stops at the first error, cancels a stream, puts migration settings back and lets a guest
run again that it paused; it does not undo the rest: it prints what to delete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files

from planner.model.operations import Kind
from planner.program.program import Program, Step, Target, UndoKind, looks_of

__all__ = ["script", "session"]

_SETTINGS = "migrate-set-"
_PLACE = "STEPS: list[dict[str, Any]] = []\n"


def session(program: Program) -> str:
    """The program as a QMP session: one JSON object a line, from the negotiation on.

    A client must wait between the lines: for the job's conclusion before `query-jobs`, and at
    `query-migrate` until the answer is what the line before waits for.  Node names that QEMU made up
    stand there as ``@DISK``.  What is done with files on the host is no QMP: it stands in comments.
    """
    lines = [json.dumps({"execute": "qmp_capabilities"})]
    for step in program.steps:
        lines.extend(_step_lines(step))
    return "".join(line + "\n" for line in lines)


def _step_lines(step: Step) -> Iterator[str]:
    if step.target is not Target.QMP:
        yield f"# on the {step.target}: {step.execute} {json.dumps(step.arguments)}"
        return
    yield _line(step.execute, step.arguments)
    for look, arguments in looks_of(step):
        yield _line(look, arguments)


def _line(command: str, arguments: Mapping[str, object]) -> str:
    return json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})


def script(program: Program) -> str:
    """The program as a Python script: ``python3 SCRIPT SOCKET``."""
    jobs = {copy.disk: copy.job for copy in program.resolution.copies}
    steps = [
        {
            "execute": step.execute,
            "arguments": dict(step.arguments),
            "target": step.target.value,
            "waits_for": step.waits_for.value,
            "timeout_s": step.timeout_s,
            "puts_back": step.execute.startswith(_SETTINGS) and bool(step.follows),
            "jobs": [jobs[o.disk] for o in step.covers if o.kind is Kind.END_COPY],
            "left": list(_left(step, program)),
        }
        for step in program.steps
    ]
    source = files(__name__).joinpath("replay.py").read_text(encoding="utf-8")
    filled = f"STEPS: list[dict[str, Any]] = json.loads({json.dumps(json.dumps(steps))})\n"
    before, _, after = source.partition(_PLACE)
    return before + filled + after


def _left(step: Step, program: Program) -> Iterator[str]:
    """What is still there of a step that was done, and what to do about it, in words."""
    resolution = program.resolution
    roots = {part.disk: part.root for part in resolution.internal}
    overlays = {overlay.disk: overlay for overlay in resolution.overlays}
    copies = {copy.disk: copy for copy in resolution.copies}
    for undo in step.undo:
        if undo.kind is UndoKind.DELETE_PART:
            yield f"delete snapshot {resolution.tag!r} of {roots[undo.disk]!r} by its id"
        elif undo.kind is UndoKind.REMOVE_OVERLAY and step.execute == "transaction":
            overlay = overlays[undo.disk]
            yield (
                f"merge node {overlay.overlay!r} into {overlay.base_file} with block-commit, if it is "
                "on the disk"
            )
        elif undo.kind is UndoKind.REMOVE_OVERLAY:
            yield f"take out node {overlays[undo.disk].overlay!r} with blockdev-del"
        elif undo.kind is UndoKind.REMOVE_FILE:
            named = ("create-overlay", "keep-stream", "keep-copy")
            name = "path" if step.execute in named else "temporary"
            yield f"remove {step.arguments[name]}"
        elif undo.kind is UndoKind.CANCEL_COPY and step.execute == "transaction":
            yield f"cancel job {copies[undo.disk].job!r} with job-cancel, and dismiss it"
        elif undo.kind is UndoKind.REMOVE_TARGET:
            yield f"take out node {copies[undo.disk].target!r} with blockdev-del"
