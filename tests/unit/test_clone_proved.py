"""The start of a clone as the code does it, act by act, and the rules' judgement of that."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from attrs import evolve

from planner.errors import Violation
from planner.load.command_line import OwnNames
from planner.model.facts import QemuVersion
from planner.model.file_record import FileRecord
from planner.parts.manifest_text import read_manifest
from planner.parts.template import Template, TemplateFile, TemplateMemory
from planner.program.template_acts import checked, sent, started
from planner.template import cloning
from planner.template.clone_plan import ClonePlan, clone_words
from planner.template.proving import made_from
from planner.verify.template import clone_problems

BEFORE = Path(__file__).with_name("manifest_of_before.json").read_text()
NEW, OLD = QemuVersion(11, 1, 3), QemuVersion(7, 2, 22)
STATE = b"devices"
OWN = OwnNames(1, "00000000-0000-4000-8000-000000000001", "02:00:00:00:00:01")
LINE = ("qemu-system-x86_64", "-m", "64", "-qmp", "unix:{qmp},server=on")


def template(folder, qemu):
    state = folder / "state"
    state.write_bytes(STATE)
    found = state.stat()
    record = FileRecord(1, found.st_ino, found.st_size, 5, 6, hashlib.sha256(STATE).hexdigest())
    memory = TemplateMemory("pc.ram", 64 << 20, str(folder / "ram"), evolve(record, sha256=""))
    return Template((memory,), TemplateFile(str(state), record), qemu, LINE)


def words(folder, qemu, *more):
    return clone_words((*LINE, *more), template(folder, qemu), (), str(folder / "qmp"), OWN)


class Waits:
    """A QEMU that takes everything, and what is done to it."""

    pid = 1
    images = host = peer_pid = None

    def __init__(self, made):
        self.made, self.acts, self.status = made, [], "inmigrate"

    async def connect(self, _socket, _timeout_s):
        return self

    async def execute(self, command, arguments, _timeout_s):
        self.acts.append(sent(command, arguments))
        (memory,) = self.made.memory
        if command == "query-version":
            version = self.made.qemu
            return {
                "qemu": {"major": version.major, "minor": version.minor, "micro": version.micro}
            }
        if command == "qom-get":
            return {"share": False, "mem-path": memory.file, "size": memory.size_bytes}[
                arguments["property"]
            ]
        if command == "migrate-incoming":
            self.status = "paused"
        if command == "cont":
            self.status = "running"
        return {"status": self.status} if command == "query-status" else {}

    async def execute_with_descriptor(self, command, arguments, _descriptor, timeout_s):
        return await self.execute(command, arguments, timeout_s)


@pytest.mark.parametrize("qemu", [OLD, NEW], ids=str)
def test_what_the_code_does_is_what_the_rules_ask_for(tmp_path, monkeypatch, qemu):
    """From the look at the files to `cont`, as QEMU and the host see it."""
    made = template(tmp_path, qemu)
    manifest = read_manifest(BEFORE)
    manifest = evolve(manifest, parts=tuple(p for p in manifest.parts if not p.disk), template=made)
    peer = Waits(made)
    records = dict(made.records)

    def record_of(file, **_):
        peer.acts.append(checked(file))
        return records[file]

    async def launch(line, _socket):
        peer.acts.append(started(*line))
        return peer

    monkeypatch.setattr(cloning, "record_of", record_of)
    plan = ClonePlan(manifest, made, 1, (), str(tmp_path / "qmp"), OWN, words(tmp_path, qemu))

    async def clone():
        cloning.check_template(manifest, made)
        waiting = cloning.Waiting(plan)
        await cloning.start_waiting(waiting, None, launch, lambda _pid: None)
        return await cloning.go_on(waiting, None, run=True)

    assert asyncio.run(clone()) == "running"
    done = [act.execute for act in peer.acts if act.execute]
    assert done.index("migrate-incoming") < done.index("cont")
    assert clone_problems(peer.acts, made_from(made), (qemu.major, qemu.minor)) == []


@pytest.mark.parametrize(
    ("qemu", "more", "rule"),
    [
        (OLD, ("-device", "virtio-balloon-pci,id=b"), "template-never-written"),
        (OLD, ("-device", '{"driver":"virtio-mem-pci","id":"m"}'), "template-never-written"),
        (NEW, ("-object", "memory-backend-memfd,id=m1,size=1M"), "memory-as-made"),
        (
            NEW,
            ("-object", "memory-backend-ram,id=m1,size=1M,share=on"),
            "memory-private-in-a-clone",
        ),
    ],
)
def test_a_line_that_would_harm_the_template_is_refused_before_anything_is_made(
    tmp_path, qemu, more, rule
):
    with pytest.raises(Violation) as refused:
        words(tmp_path, qemu, *more)
    assert rule in {str(problem.code) for problem in refused.value.problems}


def test_what_a_newer_qemu_cannot_harm_it_may_have(tmp_path):
    """It opens the memory to be read only, so nothing is punched into it."""
    assert "virtio-balloon-pci" in words(tmp_path, NEW, "-device", "virtio-balloon-pci")


def test_memory_of_the_users_own_is_replaced_and_safe(tmp_path):
    """Whatever was said of sharing and discarding."""
    mine = "memory-backend-file,id=pc.ram,size=64M,mem-path=/x,share=on,discard-data=on"
    found = " ".join(words(tmp_path, NEW, "-object", mine, "-machine", "memory-backend=pc.ram"))
    assert "discard-data" not in found
    assert "share=off" in found
