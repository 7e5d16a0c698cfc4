"""A program's clones: each goes on from the snapshot, and nothing is left of it, however it ends."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import snapplan

from tests.live.runs import as_json
from tests.live.runs import snapplan as command
from tests.live.templates import wait
from tests.live.test_clones import digests, saved, went_on

pytestmark = pytest.mark.real_qemu

PROGRAM = """
import asyncio, sys, snapplan
async def main(store):
    async with snapplan.pool("a", store=store, spares=1) as pool, pool.clone() as vm:
        print(await pid_of(pool), flush=True)
        await asyncio.sleep(600)
async def pid_of(pool):
    return "up"
asyncio.run(main(sys.argv[1]))
"""


class Said:
    """Consoles of clones, as `went_on` wants them."""

    def __init__(self, vm):
        self.vm = vm

    def console(self, number):
        path = self.vm.directory / f"console.{number}"
        return path.read_text(errors="replace") if path.exists() else ""


def names(vm):
    return {path.name for path in vm.directory.iterdir() if ".restored-" in path.name}


def restores(vm):
    return as_json(command("restore", "list", "--store", vm.directory / "store", "--json"))[
        "restores"
    ]


def test_a_pool_gives_clones_one_after_the_other_and_at_once(qemu):
    vm, _, later, template = saved(qemu)
    before, store, said = digests(template), vm.directory / "store", Said(vm)

    async def one(pool):
        clone = pool.clone()
        async with clone as attached:
            number = clone.cloned.plan.number
            await asyncio.to_thread(went_on, said, number, later, 2)
            assert (await attached.inspect()).facts.run_state == "running"
            return clone.cloned

    async def main():
        async with snapplan.pool("a", store=store, spares=1) as pool:
            first = await one(pool)
            several = await asyncio.gather(one(pool), one(pool))
        kept = snapplan.clone("a", store=store)
        async with kept as attached:
            await attached.snapshots()
            kept.keep()
        return (first, *several), kept.cloned

    cloned, kept = asyncio.run(main())
    assert len({each.plan.own.mac for each in cloned}) == 3
    assert digests(template) == before
    assert names(vm) == {Path(disk.file).name for disk in kept.plan.disks}
    (left,) = restores(vm)
    assert (left["name"], left["runs"]) == (kept.name, False)
    with snapplan.sync.clone("a", store=store, paused=True) as attached:
        assert attached.inspect().facts.run_state == "paused"
    assert len(restores(vm)) == 1


def test_a_program_that_is_killed_leaves_nothing_that_gc_does_not_take(qemu):
    """Its QEMUs die with it; their overlays were recorded before they were made."""
    vm, *_ = saved(qemu)
    store = vm.directory / "store"
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(store)], stdout=subprocess.PIPE)
    with program:
        assert program.stdout.readline() == b"up\n"
        wait(lambda: len(restores(vm)) == 2 and all(each["pid"] for each in restores(vm)))
        listed = restores(vm)
        dropped = command("restore", "drop", listed[0]["name"], "--yes", "--store", store, "--json")
        assert dropped.returncode == 10, dropped.stdout
        program.send_signal(signal.SIGKILL)
    wait(lambda: not any(each["runs"] for each in restores(vm)))
    assert names(vm)
    collected = as_json(command("gc", "--yes", "--store", store, "--json"))
    kinds = [each["kind"] for each in collected["orphans"]]
    assert kinds.count("restore-thrown-away") == 2, collected
    assert (names(vm), restores(vm)) == (set(), [])
    assert not any(Path(each["socket"]).parent.exists() for each in listed)
