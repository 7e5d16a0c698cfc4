"""Templates on a VM of the harness: made by snapplan, and a VM started from one by hand."""

import contextlib
import shlex
import subprocess

from planner.parts.manifest_text import read_manifest
from planner.template.memory_words import maps_read_only, with_memory
from tests.live.restores import store, template
from tests.live.runs import snapplan
from tests.support import qemu as harness

__all__ = ["cloned", "made", "make"]


def make(vm, manifest, *more, line=None):
    """Run `snapplan template`; how it ended."""
    words = template(vm, manifest) if line is None else line
    return snapplan("template", manifest, "--run", words, *store(vm), *more)


def made(vm, manifest, *more, line=None):
    """Make a template; what the manifest has of it."""
    done = make(vm, manifest, *more, line=line)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_manifest(manifest.read_text()).template


@contextlib.contextmanager
def cloned(vm, manifest, name="clone", at=None):
    """A VM that goes on from a template, on overlays of its own, in a folder of its own."""
    found = read_manifest(manifest.read_text()).template
    folder = vm.directory / name
    folder.mkdir()
    words = shlex.join(found.words)
    for disk in found.disks:
        overlay = folder / f"{disk.disk}.qcow2"
        base = ("-F", disk.format, "-b", disk.file)
        create = [harness.qemu_img_binary(), "create", "-q", "-f", "qcow2", *base, str(overlay)]
        subprocess.run(create, check=True)
        words = words.replace(f"{{disk:{disk.disk}}}", str(overlay))
        words = words.replace(f"{{format:{disk.disk}}}", "qcow2")
    words = words.replace("{qmp}", str(folder / "tool"))
    for each in ("qmp", "console", "stderr"):
        words = words.replace(f"{at or vm.directory}/{each}", f"{folder}/{each}")
    line = with_memory(
        shlex.split(words), found.memory, share=False, read_only=maps_read_only(found.qemu)
    )
    with (folder / "stderr").open("wb") as output:
        process = subprocess.Popen([*line, "-S", "-incoming", "defer"], stderr=output)
    try:
        with contextlib.closing(harness.connect_when_ready(process, folder)) as qmp:
            again = harness.QemuVm(vm.topology, folder, qmp, folder / "tool", process)
            _restore(again, found)
            yield again
    finally:
        harness.end_process(process)


def _restore(vm, found):
    ignored = [{"capability": "x-ignore-shared", "state": True}]
    vm.execute("migrate-set-capabilities", capabilities=ignored)
    uri = f"file:{found.state.file}" if vm.version >= (8, 2) else f"exec:cat {found.state.file}"
    vm.execute("migrate-incoming", uri=uri)
    while vm.status() == "inmigrate":
        pass
    vm.execute("cont")
