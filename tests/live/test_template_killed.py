"""Whoever dies while a template is made leaves the manifest as it was, and nothing to `gc` unknown."""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from attrs import define, field

import planner.verbs.template as verb
from backends.copies import RestoringHost
from backends.images import QemuImages
from backends.launch import launch
from planner.library.stores import collect
from planner.parts.manifest_text import read_manifest
from planner.store.makings import makings_of
from planner.store.store import Store
from planner.verbs.context import Offline
from planner.verbs.template import TemplateWish, make_template
from tests.live.made_templates import cloned, made
from tests.live.restores import request_of, save_external, template
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

POINTS = [
    *("convert-snapshot", "create-memory", "create-stream", "launch", "connect", "query-memdev"),
    *("blockdev-add", "snapshot-load", "query-jobs", "job-dismiss", "blockdev-del"),
    *("migrate-set-capabilities", "add-fd", "migrate", "query-migrate", "quit", "keep-stream"),
    *(f"{name}#{number}" for name in ("create-overlay", "remove-made") for number in (1, 2, 3)),
    *("keep-made#1", "keep-made#2"),
]
"""Each thing that is done, or asked on the way; of several of one name which."""


class Killed(BaseException):
    """Not to be caught: there is nobody any more."""


@define
class Life:
    """Dies at a point, before it is done or after, and does nothing from then on."""

    point: str
    after: bool
    dead: bool = False
    seen: Counter = field(factory=Counter)

    async def live(self, name, work):
        if self.dead:
            work.close()
            raise Killed
        name = "add-fd" if name == "getfd" else name  # QEMU before 8.2
        self.seen[name] += 1
        struck = self.point in (name, f"{name}#{self.seen[name]}")
        if struck and not self.after:
            work.close()
        else:
            told = await work
        if struck:
            self.dead = True
            raise Killed
        return told


class Host(RestoringHost):
    life: Life

    async def do(self, instruction, arguments, timeout_s):
        return await self.life.live(instruction, super().do(instruction, arguments, timeout_s))


class Started:
    """A QEMU that outlives us: it is ended by nobody who is dead."""

    def __init__(self, started, life):
        self.started, self.life, self.pid = started, life, started.pid

    def said(self):
        return ""

    async def connect(self, socket, timeout_s):
        backend = await self.life.live("connect", self.started.connect(socket, timeout_s))
        execute, pass_on = backend.execute, backend.execute_with_descriptor
        backend.execute = lambda *words: self.life.live(words[0], execute(*words))
        backend.execute_with_descriptor = lambda *words: self.life.live(words[0], pass_on(*words))
        return backend

    def end(self):
        if not self.life.dead:
            self.started.end()


def die(vm, manifest, life):
    """Make a template and die; the QEMU that was started, if any."""
    host, left = Host(), []
    host.life = life

    async def start(words, socket):
        started = await life.live("launch", launch(words, socket))
        left.append(started)
        return Started(started, life)

    async def caught(work, stop):
        del stop
        return await work

    offline = Offline(
        Store(vm.directory / "store"), QemuImages(), host, awaiting=caught, launch=start
    )
    wish = TemplateWish(template(vm, manifest))
    with contextlib.suppress(Killed):
        asyncio.run(make_template(offline, str(manifest), wish))
    return left


@pytest.fixture
def kept_folder(monkeypatch):
    """A socket's folder that nobody removes who is dead."""

    made_folder = tempfile.mkdtemp(prefix="snapplan-qmp-")

    @contextlib.contextmanager
    def folder():
        yield made_folder

    monkeypatch.setattr(verb, "socket_folder", folder)
    return Path(made_folder)


@pytest.fixture
def saved(qemu):
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"), DiskSpec("disk1")), guest=True))
    vm.wait_guest(2)
    parts = {"disk0": "internal", "disk1": vm.directory / "o1.qcow2"}
    manifest = save_external(vm, request_of("a", parts, {"internal": "disk0"}))
    vm.end()
    return vm, manifest


SAMPLE = {
    ("create-memory", True),
    ("migrate", False),
    ("keep-stream", True),
    ("remove-made#2", True),
}


@pytest.mark.parametrize(
    ("point", "after"),
    [
        pytest.param(*each, marks=() if each in SAMPLE else pytest.mark.long)
        for each in itertools.product(POINTS, (False, True))
    ],
)
def test_a_kill_at_any_step_leaves_nothing_that_gc_does_not_take(saved, kept_folder, point, after):
    """The manifest is as it was, or has the whole template; a QEMU that was left has ended."""
    vm, manifest = saved
    text, there = manifest.read_text(), sorted(vm.directory.iterdir())
    life = Life(point, after)
    left = die(vm, manifest, life)
    assert life.dead, life.seen
    store = Store(vm.directory / "store")
    asyncio.run(collect(store))
    for started in left:
        started.process.wait(20)
        started.output.close()
    recorded = read_manifest(manifest.read_text())
    files = sorted(Path(file) for file in recorded.template_files)
    assert manifest.read_text() == text or all(path.exists() for path in files)
    assert sorted(vm.directory.iterdir()) == sorted({*there, *files})
    assert not any(makings_of(each) for each in store.vms())
    if not files:
        kept_folder.mkdir()
        assert made(vm, manifest).own_files
    shutil.rmtree(kept_folder, ignore_errors=True)
    with cloned(vm, manifest) as clone:
        clone.wait_guest(2)
