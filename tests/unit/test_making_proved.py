"""The making of a template as the code does it, act by act, and the rules' judgement of that."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from planner.errors import Violation
from planner.model.facts import QemuVersion
from planner.model.file_record import FileRecord
from planner.parts.template import TemplateMemory
from planner.program.template_acts import ActKind, ended, named, recorded, sent, started, synced
from planner.template import making
from planner.template.making_plan import MakingPlan
from planner.template.memory_words import with_memory
from planner.template.proving import planned_making, prove_making
from planner.verify.template import making_problems

NEW, OLD = QemuVersion(11, 1, 3), QemuVersion(7, 2, 22)
LINE = ("qemu-system-x86_64", "-m", "64", "-S", "-incoming", "defer")


def plan(qemu=NEW):
    memory = TemplateMemory("pc.ram", 64 << 20, "/t/ram")
    restore = SimpleNamespace(disks=())
    saved = SimpleNamespace(tag="t", qemu=qemu, disk_parts=())
    return MakingPlan(saved, "token", restore, (), (memory,), "/t/state")


def words(made, *, share=True):
    return with_memory(LINE, made.memory_being_made, share=share)


class Maker:
    """A QEMU and a host that do everything, and what is done by them."""

    def __init__(self):
        self.acts = []

    async def execute(self, command, arguments, _timeout_s):
        self.acts.append(sent(command, arguments))
        return {"status": "completed"} if command == "query-migrate" else {}

    async def execute_with_descriptor(self, command, arguments, _descriptor, timeout_s):
        return await self.execute(command, arguments, timeout_s)

    def descriptor(self, _file):
        return os.open("/dev/null", os.O_WRONLY)

    async def do(self, instruction, arguments, _timeout_s):
        if instruction in ("keep-made", "keep-stream"):
            self.acts += [
                synced(arguments["temporary"]),
                named(arguments["temporary"], arguments["path"]),
            ]
        return {"sha256": "0" * 64}


@pytest.mark.parametrize("qemu", [OLD, NEW], ids=str)
def test_what_the_code_does_is_what_the_rules_ask_for(monkeypatch, qemu):
    """From the start of the maker to the manifest, as QEMU and the host see it."""
    made, maker = plan(qemu), Maker()
    monkeypatch.setattr(making, "record_of", lambda _file: FileRecord(1, 2, 3, 4, 5, ""))

    async def read(_restore, backend, _facts, _deadline_s):
        await backend.execute("migrate-incoming", {}, 1)

    async def nothing(*_):
        return SimpleNamespace(qemu=qemu, devices=())

    monkeypatch.setattr(making, "read_state", read)
    monkeypatch.setattr(making, "check_started", nothing)
    monkeypatch.setattr(making, "_check_memory", nothing)
    reporter = SimpleNamespace(step=lambda *_: None)

    async def make():
        maker.acts.append(started(*words(made)))
        assert await making.fill(made, maker, maker, 5) == qemu
        maker.acts.append(ended())
        template = await making.keep(made, qemu, LINE, maker, reporter)
        maker.acts.append(recorded(*sorted(template.own_files)))

    asyncio.run(make())
    planned, template = planned_making(words(made), made)
    assert making_problems(maker.acts, template, (qemu.major, qemu.minor)) == []
    assert kinds(maker.acts) == kinds(planned), "what is proved beforehand is what is done"


def kinds(acts):
    """What is done, in order, as far as a rule looks at it; files are synced and named one by one."""
    looked_at = ("migrate-incoming", "snapshot-load", "migrate-set-capabilities", "migrate", "cont")
    files = (ActKind.SYNC, ActKind.NAME)
    done = [str(act) for act in acts if act.kind is not ActKind.SEND or act.execute in looked_at]
    return [each for each in done if not each.startswith(files)], sorted(
        str(act) for act in acts if act.kind in files
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (words(plan(), share=False), "memory-in-a-shared-file"),
        (LINE, "memory-in-a-shared-file"),
        (tuple(word for word in words(plan()) if word != "-S"), "maker-never-runs"),
        ((*words(plan()), "-object", "memory-backend-file,id=m1,size=1M,mem-path=/t/ram,share=on"),
         "template-never-written"),
    ],
)  # fmt: skip
def test_a_line_that_would_make_another_thing_is_refused_before_anything_is_made(line, rule):
    """By the rule's id; the line is the user's, and may say anything."""
    with pytest.raises(Violation) as caught:
        prove_making(line, plan())
    assert rule in {problem.code for problem in caught.value.problems}
