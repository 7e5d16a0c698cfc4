"""What the modules have in common: snapplan's library, its errors as results, and requests."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Iterator, Mapping

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import snapplan
except ImportError:
    snapplan = None
    IMPORT_ERROR = traceback.format_exc()
else:
    IMPORT_ERROR = None

STORE = {"store": {"type": "path"}}
REQUEST = {"request": {"type": "dict"}, "request_file": {"type": "path"}}
RUN_STATE_AFTER = {
    "run_state_after": {
        "type": "str",
        "choices": ["as-before", "running", "paused"],
        "default": "as-before",
    }
}
STATE = {
    "state": {
        "type": "str",
        "choices": ["present", "absent", "loaded", "verified"],
        "default": "present",
    }
}
_ENDS = (signal.SIGTERM, signal.SIGHUP)
_RECOVER_FIRST = ("undo-incomplete", "outcome-unknown", "recovery-pending")
_LEFT = "Run snapplan.qemu.recover for this VM before anything is tried again."


@contextlib.contextmanager
def failures_told(module: AnsibleModule) -> Iterator[None]:
    """End the module as failed where snapplan is not there, or says that something is wrong."""
    if snapplan is None:
        module.fail_json(msg=missing_required_lib("snapplan"), exception=IMPORT_ERROR)
    for each in _ENDS:  # as Ctrl-C: what was begun is undone first
        signal.signal(each, signal.default_int_handler)
    try:
        yield
    except snapplan.SnapplanError as error:
        module.fail_json(**failure_of(error))
    except KeyboardInterrupt:
        error = snapplan.Interrupted("the task was ended from outside", vm_state="All is undone.")
        module.fail_json(**failure_of(error))


class StateTask:
    """One task that brings something into a state: a method for each state, `_present` and so on."""

    def __init__(self, module: AnsibleModule, **result: object) -> None:
        self.module, self.options = module, module.params
        self.result: dict[str, object] = {"changed": False, **result}

    def run(self) -> dict[str, object]:
        """Do it, or in check mode plan it."""
        state = self.options["state"]
        if state != "verified":
            self.refuse_pending()
        getattr(self, f"_{state}")()
        return self.result

    def attached(self) -> Iterator[tuple[str, object]]:
        """Every VM that it is about, with what to call it in front of a message."""
        raise NotImplementedError

    def refuse_pending(self) -> None:
        """Refuse to go on where an earlier run has not ended."""
        for called, vm in self.attached():
            for each in vm.pending():
                why = f"{called}an earlier run on this VM did not end"
                remedy = "run snapplan.qemu.recover for this VM"
                raise refused("recovery-pending", str(each.path), why, remedy)

    def show(self, plan: str) -> None:
        """Say what is done, or would be."""
        self.result |= {"changed": True, "plan": plan}
        if self.module._diff:  # noqa: SLF001 - where Ansible has it
            self.result["diff"] = {"prepared": plan}


def failure_of(error: Exception) -> dict[str, object]:
    """What a failed task returns: words for a person, and the same as data."""
    problems = [problem_of(each) for each in error.problems]
    first = must_recover(error)
    lines = [f"{error.message} [{error.code}]"]
    lines += [str(each) for each in error.problems]
    lines += [error.vm_state, *([_LEFT] if first else [])]
    told = {
        "code": error.code,
        "exit_code": error.exit_code,
        "message": error.message,
        "vm_state": error.vm_state,
        "problems": problems,
        "undone": list(getattr(error, "undone", ())),
        "left": [problem_of(each) for each in getattr(error, "left", ())],
    }
    remedies = [each["remedy"] for each in problems if each["remedy"]]
    return {"msg": "\n".join(lines), "error": told, "remedies": remedies, "recover_first": first}


def must_recover(error: Exception) -> bool:
    """Whether nothing may be tried again before `recover`: exit codes 21 and 22, and what they leave."""
    if error.exit_code in (21, 22):
        return True
    codes = {error.code, *(each.code for each in error.problems)}
    return not codes.isdisjoint(_RECOVER_FIRST)


def problem_of(problem: object) -> dict[str, str]:
    """One thing that is wrong, as data."""
    return {
        "code": problem.code,
        "subject": problem.subject,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def request_of(given: Mapping[str, object], tag: str) -> object:
    """The request that a task gives, inline or as a file; None: it gives none.

    Args:
        given: The options `request` and `request_file`.
        tag: The tag of the task; empty: the request has one.
    """
    inline, path = given["request"], given["request_file"]
    if path is not None:
        request = snapplan.read_request(path)
        if tag and request.tag != tag:
            raise refused(
                "tag-differs", tag, f"the request's tag is {request.tag!r}", "leave one out"
            )
        return request
    if inline is None:
        return None
    if tag and inline.setdefault("tag", tag) != tag:
        raise refused(
            "tag-differs", tag, f"the request's tag is {inline['tag']!r}", "leave one out"
        )
    return snapplan.read_request(inline)


def refused(code: str, subject: str, message: str, remedy: str, findings: tuple = ()) -> Exception:
    """The error of something that is not done, since it would not be what was asked for."""
    problem = snapplan.Problem(code, subject, message, remedy)
    text = f"{subject}: {message}" if subject else message
    return snapplan.Refused(text, problems=(problem, *findings), code=code)


def as_asked(manifest: object, request: object, *, partial: bool) -> bool:
    """Whether a recorded snapshot is what is asked for; without a request that is everything."""
    if request is not None:
        return manifest.request_digest == snapplan.request_digest(request)
    return partial or (manifest.vmstate is not None and not manifest.excluded)


def steps_of(plan: object) -> list[dict[str, object]]:
    """The steps of a plan, as data."""
    return [
        {"execute": step.execute, "covers": [str(each) for each in step.covers]}
        for step in plan.program.steps
    ]


def snapshot_of(snapshot: object) -> dict[str, object]:
    """A snapshot, as data."""
    taken_at = snapshot.taken_at
    return {
        "tag": snapshot.tag,
        "standing": str(snapshot.standing),
        "description": snapshot.description,
        "parent": snapshot.parent,
        "current": snapshot.current,
        "taken_at": None if taken_at is None else taken_at.isoformat(),
        "has_machine_state": snapshot.has_machine_state,
        "request_digest": "" if snapshot.manifest is None else snapshot.manifest.request_digest,
        "disks": sorted({part.disk for part in snapshot.parts if part.disk}),
    }
