"""A domain's chains of images: QMP's words for overlays, done by libvirt's calls.

What would change a chain goes to libvirt and not to QEMU: an overlay that libvirt does not know of is
lost at the domain's next start (fact 132).  The words stay QMP's, and with them every program and undo:

    stop, cont                    libvirt's suspend and resume
    blockdev-add of an overlay    kept in mind; libvirt adds the node itself
    transaction                   first what is no overlay, then all overlays in one call
    block-commit, job-complete    libvirt's block commit, and its pivot
    blockdev-del                  libvirt has taken the node out
    query-name, -block, -jobs     with libvirt's tags, targets and job besides

Rules: libvirt's node names last only for now (fact 131), so they are shown with a ``#`` before them, as
QEMU's own are; an overlay is called by its file.  Two calls are not one instant: overlays beside other
parts are made only while the guest stands.  If the second of them is refused, the outcome is *unknown*:
the run looks, and undoes what it finds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from backends.domain.link import Link
from planner.model.node_names import (
    LIBVIRT_JOB,
    OVERLAY_NODE_PREFIX,
    SHOWN_LIBVIRT_PREFIX,
    TAGS_KEY,
    TARGET_KEY,
    is_libvirts,
)
from planner.program.resolution import overlay_node_name
from planner.run.ports import CommandRefused, NoReply

__all__ = ["Chains"]

Arguments = Mapping[str, Any]

_OVERLAY = re.compile(re.escape(OVERLAY_NODE_PREFIX) + r"[0-9a-f]{12}")
_ALIAS = re.compile(r"(?:/machine/peripheral/)?([^/]+)")
"""In a device as QEMU calls it: by its path where a child of it has the disk, else by its id."""
_CHANGES = frozenset(
    {
        *("stop", "cont", "system_reset", "transaction", "blockdev-add", "block-commit", "migrate"),
        *("snapshot-save", "snapshot-load", "snapshot-delete"),
        *("migrate-set-capabilities", "migrate-set-parameters"),
        "blockdev-snapshot-delete-internal-sync",
    }
)
"""What libvirt does not keep apart from a job of its own: a `cont` lets a guest run that it saves."""
_READY_S = 10.0
_POLL_S = 0.05


@frozen
class _Disk:
    """A disk of the domain: libvirt's name of the target, and the top node as libvirt calls it."""

    target: str
    node: str


@define
class _Commit:
    """A block commit of libvirt's under the name that we gave it.

    Attributes:
        target: The disk.
        name: libvirt's own name of the job.
        top: The overlay's node, as libvirt calls it.
        error: Why it failed, once it has ended; empty: it is done.  None: it goes on.
    """

    target: str
    name: str
    top: str
    error: str | None = None


@define
class Chains:
    """Does each command that libvirt has to know of its way, and passes the others; it blocks."""

    link: Link
    _shown: dict[str, str] = field(factory=dict, init=False)
    _files: dict[str, str] = field(factory=dict, init=False)
    _added: dict[str, str] = field(factory=dict, init=False)
    _commits: dict[str, _Commit] = field(factory=dict, init=False)

    def do(self, command: str, arguments: Arguments) -> object:
        """A command and its answer; raises as `Link.ask`."""
        own: dict[str, Callable[[Arguments], object]] = {
            "stop": lambda _: self.link.suspend(),
            "cont": lambda _: self.link.resume(),
            "blockdev-add": self._add,
            "blockdev-del": self._delete,
            "transaction": self._transaction,
            "block-commit": self._commit,
            "query-jobs": self._jobs,
            "query-name": self._name,
            "query-block": self._blocks,
            "job-complete": self._complete,
            "job-cancel": self._cancel,
            "job-dismiss": self._dismiss,
        }
        if command in _CHANGES and self.link.is_busy():
            words = (
                f"libvirt runs a job on the domain, and {command} would be done in the midst of it"
            )
            raise CommandRefused("libvirt", words)
        if command in own:
            return own[command](arguments)
        return self._pass(command, arguments)

    # --- names ------------------------------------------------------------------------------------

    def _pass(self, command: str, arguments: Arguments) -> object:
        live = {key: self._live(value) for key, value in arguments.items()}
        return self.show(self.link.ask(command, live, ()))

    def _learn(self) -> None:
        nodes: Any = self.link.ask("query-named-block-nodes", {"flat": True}, ())
        for node in nodes:
            name, file = str(node["node-name"]), str(node.get("file", ""))
            if is_libvirts(name):
                self._files[name] = file
                lies_over = node.get("backing_file") or node["image"].get("backing-filename")
                is_overlay = bool(lies_over) and node["drv"] == "qcow2"
                over = overlay_node_name("", file) if is_overlay else ""
                self._shown[name] = over or f"{SHOWN_LIBVIRT_PREFIX}{name}"

    def show(self, value: Any) -> Any:
        """What QEMU said, with the names that are shown."""
        if isinstance(value, dict):
            return {key: self.show(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.show(each) for each in value]
        if not isinstance(value, str) or not is_libvirts(value):
            return value
        if value not in self._shown:
            self._learn()
        return self._shown.get(value, f"{SHOWN_LIBVIRT_PREFIX}{value}")

    def _live(self, value: Any) -> Any:
        """What is to be said to QEMU, with libvirt's names."""
        if isinstance(value, dict):
            return {key: self._live(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._live(each) for each in value]
        if not isinstance(value, str):
            return value
        if value.startswith(SHOWN_LIBVIRT_PREFIX) and is_libvirts(value[1:]):
            return value[1:]
        if _OVERLAY.fullmatch(value) and value not in self._added:
            return self._found(value) or value
        return value

    def _found(self, shown: str) -> str:
        """Libvirt's name of an overlay's node; empty: there is none now."""
        self._shown.clear()
        self._learn()
        return next((name for name, each in self._shown.items() if each == shown), "")

    def _disks(self) -> list[_Disk]:
        targets = {alias: target for target, alias in self.link.disks()}
        blocks: Any = self.link.ask("query-block", {}, ())
        found = []
        for block in blocks:
            alias = _ALIAS.match(block.get("qdev", ""))
            if alias and alias[1] in targets and "inserted" in block:
                found.append(_Disk(targets[alias[1]], block["inserted"]["node-name"]))
        return found

    # --- overlays ---------------------------------------------------------------------------------

    def _add(self, arguments: Arguments) -> object:
        node, file = arguments.get("node-name"), arguments.get("file")
        path = file.get("filename") if isinstance(file, Mapping) else None
        if not isinstance(path, str) or node != overlay_node_name("", path):
            return self._pass("blockdev-add", arguments)
        self._added[node] = path
        return {}

    def _delete(self, arguments: Arguments) -> object:
        node = str(arguments.get("node-name"))
        if self._added.pop(node, None) is not None:
            return {}
        if _OVERLAY.fullmatch(node) and self._found(node):
            raise CommandRefused("GenericError", f"Node '{node}' is busy: libvirt has it on a disk")
        return self._pass("blockdev-del", arguments)

    def _transaction(self, arguments: Arguments) -> object:
        actions: Sequence[Arguments] = arguments["actions"]
        overlays = [each["data"] for each in actions if _puts_on(each, self._added)]
        if not overlays:
            return self._pass("transaction", arguments)
        tops = {disk.node: disk.target for disk in self._disks()}
        files = {}
        for data in overlays:
            node = self._live(data["node"])
            if node not in tops:
                raise CommandRefused("libvirt", f"{data['node']} is on no disk of the domain")
            files[tops[node]] = self._added[data["overlay"]]
        rest = [each for each in actions if not _puts_on(each, self._added)]
        if rest:
            self._stands()
            self._pass("transaction", {**arguments, "actions": rest})
        try:
            self.link.snapshot(files)
        except CommandRefused as refused:
            if rest:
                words = f"the overlays were refused after the other parts were made: {refused}"
                raise NoReply(words) from refused
            raise
        for data in overlays:
            del self._added[data["overlay"]]
        return {}

    def _stands(self) -> None:
        status: Any = self.link.ask("query-status", {}, ())
        if status["running"]:
            words = (
                "libvirt makes overlays in a call of their own: beside other parts, and while the "
            )
            raise CommandRefused("libvirt", f"{words}guest runs, they would be of another instant")

    # --- block commits ----------------------------------------------------------------------------

    def _commit(self, arguments: Arguments) -> object:
        live = self._live(dict(arguments))
        top, base = live.get("top-node"), live.get("base-node")
        on_top = [disk for disk in self._disks() if disk.node == top]
        if not on_top or not is_libvirts(str(top)):
            return self._pass("block-commit", arguments)
        [disk] = on_top
        self._learn()
        try:
            self.link.commit(disk.target, self._files[base], self._files[top])
        except CommandRefused:
            if not self.link.commits(disk.target):
                raise  # else it is one that we began before
        name = f"commit-{disk.target}-{top}"
        self._commits[str(arguments["job-id"])] = _Commit(disk.target, name, top)
        return {}

    def _jobs(self, arguments: Arguments) -> object:
        jobs: Any = self.link.ask("query-jobs", arguments, ())
        live = {str(job["id"]) for job in jobs}
        for commit in self._commits.values():
            if commit.error is None and commit.name not in live:
                commit.error = "libvirt ended the job" if self._is_there(commit.top) else ""
        ours = {each.name: job_id for job_id, each in self._commits.items() if each.error is None}
        shown = [{**job, "id": ours.get(job["id"], job["id"])} for job in jobs]
        if self.link.is_busy():
            shown.append({"id": "libvirt", "type": LIBVIRT_JOB, "status": "running"})
        done = ((job_id, each) for job_id, each in self._commits.items() if each.error is not None)
        return [*shown, *(_ended(job_id, each) for job_id, each in done)]

    def _name(self, arguments: Arguments) -> object:
        """With the tags that libvirt has given away."""
        told: Any = self._pass("query-name", arguments)
        tags = self.link.tags()
        return {**told, TAGS_KEY: tags} if tags else told

    def _blocks(self, arguments: Arguments) -> object:
        """With libvirt's name of each disk's target."""
        blocks: Any = self._pass("query-block", arguments)
        targets = {alias: target for target, alias in self.link.disks()}
        for block in blocks:
            alias = _ALIAS.match(block.get("qdev", ""))
            if alias and alias[1] in targets:
                block[TARGET_KEY] = targets[alias[1]]
        return blocks

    def _is_there(self, node: str) -> bool:
        return any(disk.node == node for disk in self._disks())

    def _complete(self, arguments: Arguments) -> object:
        commit = self._commits.get(str(arguments.get("id")))
        if commit is None or commit.error is not None:
            return self._pass("job-complete", arguments)
        until_s = time.monotonic() + _READY_S
        while True:
            try:
                self.link.pivot(commit.target)
            except CommandRefused as refused:
                # libvirt has yet to hear that it is ready
                if "not ready" not in refused.description or time.monotonic() > until_s:
                    raise
                time.sleep(_POLL_S)
            else:
                commit.error = ""
                return {}

    def _cancel(self, arguments: Arguments) -> object:
        commit = self._commits.get(str(arguments.get("id")))
        if commit is None or commit.error is not None:
            return self._pass("job-cancel", arguments)
        self.link.abort(commit.target)
        commit.error = "Operation canceled"
        return {}

    def _dismiss(self, arguments: Arguments) -> object:
        commit = self._commits.get(str(arguments.get("id")))
        if commit is None or commit.error is None:
            return self._pass("job-dismiss", arguments)
        del self._commits[str(arguments["id"])]
        return {}


def _puts_on(action: Arguments, added: Mapping[str, str]) -> bool:
    return action["type"] == "blockdev-snapshot" and action["data"].get("overlay") in added


def _ended(job_id: str, commit: _Commit) -> dict[str, object]:
    told: dict[str, object] = {"id": job_id, "type": "commit", "status": "concluded"}
    told |= {"current-progress": 1, "total-progress": 1}
    return {**told, "error": commit.error} if commit.error else told
