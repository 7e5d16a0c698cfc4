"""Snapshots with external parts on a VM of the harness: saved, its QEMU ended, restored by snapplan."""

import contextlib
import json
import os
import select
import shlex
import signal
from pathlib import Path

from attrs import define

from backends.qemu_facts.lab.arguments import image_format
from tests.live.runs import snapplan
from tests.support import qemu as harness
from tests.support.qmp import QmpClient

__all__ = [
    "Adopted",
    "SaveFailed",
    "disk_name",
    "request_of",
    "restored",
    "save_external",
    "store",
    "template",
]


def disk_name(spec) -> str:
    """What snapplan calls a disk of the topology: by its image's node, or its `-drive` id."""
    return spec.format_node


def request_of(tag, parts, state, **more) -> str:
    """A request: disk to its wish, or to a path for an overlay, and a machine-state value."""
    wishes = {
        name: part
        if part in ("internal", "exclude") or isinstance(part, dict)
        else {"external": str(part)}
        for name, part in parts.items()
    }
    return json.dumps({"tag": tag, "machine-state": state, "disks": wishes, **more})


def save_external(vm, text) -> Path:
    """Save with `snapplan apply` as a request says; the manifest that it wrote."""
    done = snapplan(*("apply", "-", "--vm", vm.qmp_path, *store(vm)), text=text)
    if done.returncode:
        raise SaveFailed(done.returncode, json.loads(done.stdout)["error"])
    return Path(json.loads(done.stdout)["manifest"])


class SaveFailed(AssertionError):
    """`snapplan apply` ended otherwise than with a snapshot: exit code, and the error as it says it."""


def store(vm):
    """The options of each snapplan here."""
    return ("--store", vm.directory / "store", "--json")


def template(vm, manifest) -> str:
    """The VM's command line, with places for the images of the parts and for the tool's socket."""
    parts = {part["disk"] for part in json.loads(manifest.read_text())["parts"]}
    topology, directory = vm.topology, vm.directory
    words = [harness.qemu_binary(), *harness.command_line(directory, topology)]
    if topology.paused:
        words.remove("-S")
    for spec in topology.disks:
        path, name = str(vm.image(spec.name)), disk_name(spec)
        if name not in parts:
            continue
        driver = json.dumps({"driver": image_format(spec)})[1:-1]
        words = [
            word.replace(path, f"{{disk:{name}}}").replace(driver, f'"driver": "{{format:{name}}}"')
            if path in word
            else word
            for word in words
        ]
    tool = f"unix:{directory / 'tool'},"
    return shlex.join(word.replace(tool, "unix:{qmp},") for word in words)


@define
class Adopted:
    """A QEMU that snapplan started: no child of ours, and ended by its pid all the same."""

    pid: int
    handle: int

    @classmethod
    def of(cls, pid: int) -> "Adopted":
        return cls(pid, os.pidfd_open(pid))

    def poll(self):
        return 0 if self._ended(0) else None

    def wait(self, timeout_s=30.0):
        assert self._ended(timeout_s), "QEMU has not ended"
        return 0

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)

    def _ended(self, timeout_s) -> bool:
        poller = select.poll()
        poller.register(self.handle, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))


@contextlib.contextmanager
def restored(vm, manifest, *more):
    """Restore with `snapplan load --run`, as a program of its own; the VM that it started."""
    (vm.directory / "console").unlink(missing_ok=True)
    done = snapplan(
        *(
            "load",
            manifest,
            "--run",
            template(vm, manifest),
            "--qmp",
            vm.directory / "tool",
            "--json",
        ),
        *more,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    process = Adopted.of(said["pid"])
    try:
        with contextlib.closing(QmpClient(vm.directory / "qmp")) as qmp:
            again = harness.QemuVm(vm.topology, vm.directory, qmp, vm.directory / "tool", process)
            again.said = said
            yield again
    finally:
        harness.end_process(process)
        os.close(process.handle)
