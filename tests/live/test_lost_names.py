"""Images that QEMU was given by a relative path, and would not find by that again: fact 71."""

import asyncio
import json
import shlex

import pytest

from backends.launch import launch
from backends.qemu_facts.lab.own_lines import folder
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.request import Capture, ExternalMachineState, RunStateAfter
from planner.parts.make_stream import stream_problems
from planner.run.pump import ask_facts
from tests.support.qemu import qemu_binary


def facts_of(place, more):
    """What is asked of a QEMU that was started in the images' folder, by a relative path."""
    place.image("a.qcow2")
    socket = str(place.path / "vm.sock")
    qemu = f"{qemu_binary()} -machine pc,accel=tcg -nodefaults -display none -S {more}"
    qemu += f" -qmp unix:{shlex.quote(socket)},server=on,wait=off"
    qemu += " -drive if=virtio,file=a.qcow2,format=qcow2"
    line = f"cd {shlex.quote(str(place.path))} && exec {qemu}"

    async def asked():
        started = await launch(["sh", "-c", line], socket)
        try:
            backend = await started.connect(socket, 60)
            try:
                return await ask_facts(backend)
            finally:
                await backend.close()
        finally:
            started.end()

    return asyncio.run(asked())


@pytest.mark.parametrize(("more", "lost"), [("", ""), ("-daemonize", "a.qcow2")])
def test_a_capture_that_would_fail_is_refused(more, lost):
    """Only where QEMU went to another folder; a background capture makes nothing inactive."""
    with folder() as place:
        facts = facts_of(place, more)
        [disk] = facts.disks
        assert (disk.lost_name, disk.filename) == (lost, str(place.path / "a.qcow2"))
    kept = read_facts(json.dumps(facts_to_plain(facts)))
    assert kept.disks[0].lost_name == lost
    codes = {
        capture: [
            problem.code
            for problem in stream_problems(
                ExternalMachineState("/s", capture), facts, RunStateAfter.AS_BEFORE
            )
            if problem.code == "image-not-found-again"
        ]
        for capture in Capture
    }
    refused = ["image-not-found-again"] if lost else []
    assert codes == {Capture.STOPPED: refused, Capture.LIVE: refused, Capture.BACKGROUND: []}
