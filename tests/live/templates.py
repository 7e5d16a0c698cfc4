"""A template made by hand, with QMP alone, and clones of it that `snapplan load` starts.

It is made as `snapplan template` makes one, by the test's own client and from its own reading of what
QEMU does.
"""

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import time
from pathlib import Path

from attrs import evolve

from planner.model.facts import QemuVersion
from planner.model.file_record import FileRecord
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.parts.overlay import FrozenImage
from planner.parts.stream import MAPPED, StateStream
from planner.parts.template import Template, TemplateDisk, TemplateFile, TemplateMemory
from tests.live.restores import Adopted, template
from tests.live.runs import as_json, snapplan
from tests.support import qemu as harness
from tests.support.images import qemu_img
from tests.support.qmp import QmpClient

__all__ = ["Clones", "clone_line", "make_template"]


def capability(name, *, on):
    """The arguments that switch one."""
    return {"capabilities": [{"capability": name, "state": on}]}


def clone_line(vm, manifest):
    """The VM's command line with places, its console and the test's own socket apart for each clone."""
    folder = vm.directory
    words = shlex.split(template(vm, manifest))
    words = [
        word.replace(f"{folder / 'console'}", f"{folder / 'console'}.{{clone}}") for word in words
    ]
    return shlex.join(
        word.replace(f"unix:{folder / 'qmp'},", f"unix:{folder / 'qmp'}.{{clone}},")
        for word in words
    )


def make_template(vm, path, *, memory_id="pc.ram", line=None):
    """Make it of a snapshot whose parts are a stream and frozen images, and record it; the manifest."""
    manifest = read_manifest(path.read_text(), str(path))
    (stream,) = manifest.of(StateStream)
    folder, size = vm.directory, vm.topology.memory_mib << 20
    ram, state = folder / "a.template.ram", folder / "a.template.state"
    words = shlex.split(line or clone_line(vm, path))
    disks = {}
    for part in manifest.of(FrozenImage):
        overlay = folder / f"making.{part.disk}"
        disks[part.disk] = str(overlay)
        over = ("-F", part.format, "-b", part.file)
        qemu_img(harness.qemu_img_binary(), "create", "-q", "-f", "qcow2", *over, overlay)
    filled = [fill(word, disks, folder / "making.qmp") for word in words]
    memory = f"memory-backend-file,id={memory_id},size={size},mem-path={ram},share=on"
    filled += [
        "-object",
        memory,
        "-machine",
        f"memory-backend={memory_id}",
        "-S",
        "-incoming",
        "defer",
    ]
    process = subprocess.Popen(filled, stdin=subprocess.DEVNULL)
    try:
        with contextlib.closing(connected(folder / "making.qmp", process)) as qmp:
            qemu = qmp.execute("query-version")["qemu"]
            mapped = stream.format == MAPPED
            if mapped:
                qmp.execute("migrate-set-capabilities", capability(MAPPED, on=True))
            source = f"file:{stream.file}" if mapped else f"exec:cat {stream.file}"
            qmp.execute("migrate-incoming", {"uri": source})
            wait(lambda: qmp.execute("query-status")["status"] != "inmigrate")
            if mapped:
                qmp.execute("migrate-set-capabilities", capability(MAPPED, on=False))
            qmp.execute("migrate-set-capabilities", capability("x-ignore-shared", on=True))
            qmp.execute("migrate", {"uri": f"exec:cat > {state}"})
            wait(lambda: qmp.execute("query-migrate")["status"] == "completed")
            qmp.execute("quit")
        process.wait(20)
    finally:
        harness.end_process(process)
    for file in (*disks.values(), folder / "making.qmp"):
        with contextlib.suppress(FileNotFoundError):
            Path(file).unlink()
    for file in (ram, state):
        file.chmod(0o600)
    made = Template(
        memory=(TemplateMemory(memory_id, size, str(ram), record(ram)),),
        state=TemplateFile(str(state), record(state)),
        qemu=QemuVersion(qemu["major"], qemu["minor"], qemu["micro"]),
        words=tuple(words),
        disks=tuple(
            TemplateDisk(part.disk, part.file, part.format, own=False, record=part.record)
            for part in manifest.of(FrozenImage)
        ),
        made_ns=time.time_ns(),
    )
    path.write_text(json.dumps(manifest_to_plain(evolve(manifest, template=made))))
    return made


def connected(path, process):
    """A connection to a QEMU that comes up: its socket is there before it listens."""
    while True:
        try:
            return QmpClient(path)
        except (FileNotFoundError, ConnectionRefusedError):
            assert process.poll() is None
            time.sleep(0.05)


def fill(word, disks, socket):
    """What stands in the places of a line."""
    for name, file in disks.items():
        word = word.replace(f"{{disk:{name}}}", file).replace(f"{{format:{name}}}", "qcow2")
    word = word.replace("{qmp}", str(socket)).replace("{clone}", "0")
    return word.replace("{uuid}", "00000000-0000-4000-8000-000000000000").replace(
        "{mac}", "02:00:00:00:00:00"
    )


def record(file):
    """What a file is."""
    found = file.stat()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return FileRecord(found.st_dev, found.st_ino, found.st_size, *times, digest)


def wait(condition, timeout_s=30.0):
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Clones:
    """The clones that a `snapplan load` has started; all are ended when it is left."""

    def __init__(self, vm):
        self.vm, self.said, self.processes = vm, {}, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            harness.end_process(process)
            os.close(process.handle)

    def load(self, *words, code=0):
        """Start some; what was said, or its problems by code."""
        done = snapplan("load", *words, "--store", self.vm.directory / "store", "--json")
        assert done.returncode == code, (done.stdout, done.stderr)
        said = as_json(done)
        if code:
            return {problem["code"] for problem in said["error"]["problems"]}
        for each in said["clones"]:
            self.processes.append(Adopted.of(each["pid"]))
        return said

    def console(self, number):
        """What the guest of a clone has said."""
        path = self.vm.directory / f"console.{number}"
        return path.read_text(errors="replace") if path.exists() else ""

    def qmp(self, number):
        """The test's own connection to a clone; the caller closes it."""
        return QmpClient(self.vm.directory / f"qmp.{number}")
