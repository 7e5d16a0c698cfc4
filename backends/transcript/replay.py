#!/usr/bin/env python3
"""Runs the steps of one snapshot on one QEMU.  Written by snapplan; wants nothing but Python 3.

Usage: python3 THIS SOCKET        (a QMP unix socket that no other client uses)

It stops at the first error, cancels a stream, puts migration settings back, lets a guest run again that
it paused, and says what to delete.  It does not look before it leaps as snapplan does: no check of the
tag, of the disks, of other clients.  Files are made on this machine, which has to be QEMU's; overlays by
`qemu-img`, or by the program that the environment variable QEMU_IMG names.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS: list[dict[str, Any]] = []

_TIMEOUT_S = 1800.0
_POLL_S = {"tracking": 0.001}  # the guest stands while write tracking is waited for
_ENDED = ("", "none", "completed", "failed", "cancelled")


class Qmp:
    """A QMP connection, as small as can be."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT_S)
        self._socket.connect(path)
        self._file = self._socket.makefile("r", encoding="utf-8")
        self._events: list[dict[str, Any]] = []
        self._read()
        self.execute("qmp_capabilities", {})

    def _read(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            sys.exit("QEMU closed the connection: what became of the last step is not known")
        message: dict[str, Any] = json.loads(line)
        return message

    def execute(self, command: str, arguments: dict[str, Any], descriptor: int = -1) -> Any:
        """Send a command, a descriptor with it, and return what comes back; raise QEMU's words."""
        line = (json.dumps({"execute": command, "arguments": arguments}) + "\n").encode()
        if descriptor >= 0:
            line = line[socket.send_fds(self._socket, [line], [descriptor]) :]
        self._socket.sendall(line)
        while True:
            message = self._read()
            if "error" in message:
                raise RuntimeError(f"{command}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self._events.append(message)

    def await_job(self, job_id: str) -> None:
        """Wait until a job is concluded, dismiss it, and raise its error if it has one."""
        while not any(_concludes(event, job_id) for event in self._events):
            self._events.append(self._read())
        jobs = {job["id"]: job for job in self.execute("query-jobs", {})}
        self.execute("job-dismiss", {"id": job_id})
        if "error" in jobs[job_id]:
            raise RuntimeError(f"job {job_id}: {jobs[job_id]['error']}")

    def await_copy(self, job_id: str, timeout_s: float) -> None:
        """Wait until a job that copies a disk is concluded, dismiss it, and raise its error."""
        until = time.monotonic() + timeout_s
        while (job := {j["id"]: j for j in self.execute("query-jobs", {})}[job_id])[
            "status"
        ] != "concluded":
            if time.monotonic() > until:
                raise RuntimeError(f"job {job_id} does not end")
            time.sleep(0.05)
        self.execute("job-dismiss", {"id": job_id})
        if "error" in job:
            raise RuntimeError(f"job {job_id}: {job['error']}")

    def await_status(self, wanted: str, timeout_s: float) -> None:
        """Wait until the VM is in a run state."""
        until = time.monotonic() + timeout_s
        while (found := self.execute("query-status", {})["status"]) != wanted:
            if time.monotonic() > until:
                raise RuntimeError(f"the VM is {found!r} and should be {wanted!r}")
            time.sleep(0.01)

    def await_migration(self, waits_for: str, timeout_s: float) -> None:
        """Wait until a migration is where a step says."""
        until = time.monotonic() + timeout_s
        while True:
            found = self.execute("query-migrate", {})
            status, ram = found.get("status", ""), found.get("ram", {})
            pages = ram.get("normal", 0) + ram.get("duplicate", 0)
            if waits_for == "switchover" and status == "pre-switchover":
                return
            if waits_for == "tracking" and pages and status in ("active", "completed"):
                return
            if waits_for == "migrated" and status == "completed":
                return
            if status in _ENDED:
                raise RuntimeError(f"the migration is {status!r}: {found.get('error-desc', '')}")
            if time.monotonic() > until:
                raise RuntimeError(
                    "the stream does not get there: the guest writes too fast for it"
                )
            time.sleep(_POLL_S.get(waits_for, 0.05))


def _concludes(event: dict[str, Any], job_id: str) -> bool:
    data = event.get("data", {})
    is_change = event.get("event") == "JOB_STATUS_CHANGE"
    return is_change and data.get("id") == job_id and data.get("status") == "concluded"


# --- files on this machine ------------------------------------------------------------------------


class Host:
    """Makes and names files: never over one that is there."""

    def __init__(self, qmp: Qmp) -> None:
        self._qmp = qmp
        self.streams: list[int] = []

    def do(self, instruction: str, arguments: dict[str, Any]) -> None:
        """Do one thing; raise where it cannot be done."""
        if instruction == "create-overlay":
            self._create_overlay(Path(arguments["path"]), arguments)
        elif instruction == "create-copy":
            _create_copy(Path(arguments["path"]), Path(arguments["temporary"]), arguments)
        elif instruction == "keep-copy":
            descriptor = os.open(arguments["temporary"], os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(descriptor)
            _link(descriptor, Path(arguments["temporary"]), Path(arguments["path"]))
        elif instruction == "create-stream":
            _must_be_absent(Path(arguments["path"]))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self.streams.append(os.open(arguments["temporary"], flags, 0o600))
        elif instruction == "keep-stream":
            os.fsync(self.streams[-1])
            _link(self.streams[-1], Path(arguments["temporary"]), Path(arguments["path"]))
        elif instruction in ("flush-images", "flush-while-streaming", "end-flushing"):
            self._flush(arguments["disks"])
        else:
            raise RuntimeError(f"this script cannot {instruction}")

    def _create_overlay(self, path: Path, arguments: dict[str, Any]) -> None:
        _must_be_absent(path)
        base = Path(arguments["base"])
        owner = base.stat()
        temporary = path.with_name(f".{path.name}.snapplan")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            program = os.environ.get("QEMU_IMG", "qemu-img")
            command = [program, "create", "-q", "-f", "qcow2", "-F", arguments["base-format"]]
            # By descriptor: the folder may be another user's, who may swap the name meanwhile.
            command += ["-b", str(base), "--", _open_name(descriptor), str(arguments["size"])]
            held = (descriptor,)
            subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=held)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(owner.st_mode))
            os.fsync(descriptor)
            _link(descriptor, temporary, path)
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)

    def _flush(self, disks: list[str]) -> None:
        """Write back what the kernel holds of the images: saves time in the pause, and no more."""
        for drive in self._qmp.execute("query-block", {}):
            shown = drive.get("inserted", {})
            names = {drive.get("device"), drive.get("qdev"), shown.get("node-name")}
            if not names & set(disks):
                continue
            try:
                descriptor = os.open(shown["file"], os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                continue
            os.fdatasync(descriptor)
            os.close(descriptor)


def _create_copy(path: Path, temporary: Path, arguments: dict[str, Any]) -> None:
    """A copy's file with all its room: QEMU fails the guest's write where it finds none."""
    _must_be_absent(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        command = [os.environ.get("QEMU_IMG", "qemu-img"), "create", "-q"]
        command += ["-f", arguments.get("format", "qcow2")]
        command += ["-o", "preallocation=falloc", "--", _open_name(descriptor)]
        command.append(str(arguments["size"]))
        held = (descriptor,)
        subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=held)
        if arguments["base"].startswith("/"):
            owner = Path(arguments["base"]).stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def _must_be_absent(path: Path) -> None:
    if os.path.lexists(path):
        raise RuntimeError(f"{path} exists, and is not overwritten")


def _open_name(descriptor: int) -> str:
    """A path that means the open file, whatever its name means by now."""
    return f"/proc/self/fd/{descriptor}"


def _link(descriptor: int, temporary: Path, path: Path) -> None:
    """Give a complete file its name, which no other file may have."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # With a folder's descriptor it is `linkat`, which takes what is open and not a name.
        os.link(_open_name(descriptor), path.name, dst_dir_fd=folder, follow_symlinks=True)
        os.unlink(temporary.name, dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)


# --- the steps ------------------------------------------------------------------------------------


def _bind(qmp: Qmp, arguments: dict[str, Any]) -> dict[str, Any]:
    """Put in the names that QEMU made up (they stand as @DISK) for nodes of -drive disks."""
    drives = [drive for drive in qmp.execute("query-block", {}) if "inserted" in drive]
    live = {f"@{drive['device']}": drive["inserted"]["node-name"] for drive in drives}
    bound = dict(arguments)
    if "devices" in bound:
        bound["devices"] = [live.get(node, node) for node in bound["devices"]]
        bound["vmstate"] = live.get(bound["vmstate"], bound["vmstate"])
    for action in bound.get("actions", ()):
        if action["type"] == "blockdev-snapshot":
            action["data"]["node"] = live.get(action["data"]["node"], action["data"]["node"])
    return bound


def _run(qmp: Qmp, host: Host, step: dict[str, Any]) -> None:
    print(step["execute"], flush=True)
    if step["target"] == "host":
        host.do(step["execute"], step["arguments"])
        return
    arguments = _bind(qmp, step["arguments"])
    passes = step["execute"] in ("getfd", "add-fd")
    qmp.execute(step["execute"], arguments, host.streams[-1] if passes else -1)
    waits_for, timeout_s = step["waits_for"], step["timeout_s"]
    if waits_for == "job":
        qmp.await_job(arguments["job-id"])
    elif waits_for in ("stopped", "running"):
        qmp.await_status({"stopped": "paused"}.get(waits_for, waits_for), timeout_s)
    elif waits_for == "copied":
        for job_id in step["jobs"]:
            qmp.await_copy(job_id, timeout_s)
    elif waits_for != "reply":
        qmp.await_migration(waits_for, timeout_s)
        if waits_for == "migrated" and step["execute"] != "query-migrate":
            qmp.await_status("postmigrate", timeout_s)  # `cont` would meet its end otherwise


def _give_up(qmp: Qmp, *, begun: bool, ran: bool) -> None:
    """End a stream, put the settings back, and let the guest run as before."""
    cancelled = False
    while begun and qmp.execute("query-migrate", {}).get("status", "") not in _ENDED:
        if not cancelled:
            qmp.execute("migrate_cancel", {})
            cancelled = True
        time.sleep(0.05)
    while (status := qmp.execute("query-status", {})["status"]) == "finish-migrate":
        time.sleep(0.05)
    if ran and status != "running":
        qmp.execute("cont", {})
    for step in STEPS:
        if step["puts_back"]:
            qmp.execute(step["execute"], step["arguments"])


def _visible(text: str) -> str:
    """QEMU's words on one line, with nothing in them that a terminal would obey."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def main() -> None:
    """Run the steps; exit 1 on an error, with what is left to do."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    qmp = Qmp(sys.argv[1])
    host = Host(qmp)
    ran = qmp.execute("query-status", {})["status"] == "running"
    begun = False
    left: list[str] = []
    for step in STEPS:
        begun = begun or step["execute"] == "migrate"
        try:
            _run(qmp, host, step)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            words = [f"failed: {getattr(error, 'stderr', '') or error}"]
            try:
                _give_up(qmp, begun=begun, ran=ran)
            except RuntimeError as second:
                words.append(f"failed on the way back: {second}")
            sys.exit("\n".join(map(_visible, [*words, *reversed(left)])))
        left.extend(step["left"])
    print("done")


if __name__ == "__main__":
    main()
