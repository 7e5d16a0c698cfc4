"""Snapshots with a manifest on a VM of the harness, made by snapplan, and what is done to them."""

import asyncio
import json
from pathlib import Path

from attrs import evolve

from backends.qemu import connect
from planner.compile.plan import compile_request
from planner.model.file_record import UNSEEN
from planner.model.request_text import read_request
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import manifest_to_plain
from planner.parts.overlay import FrozenImage
from planner.run.pump import HostClock, Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.live.runs import request_text, snapplan

__all__ = ["act", "facts_of", "manifest_of", "record", "save", "save_external"]


def manifest_of(facts, tag, disks, excluded=()):
    """The manifest of a snapshot that the VM holds on these disks."""
    by_name = {disk.name: disk for disk in facts.disks}
    parts = []
    for name in disks:
        disk = by_name[name]
        (held,) = disk.holding(tag)
        parts.append(
            InternalSnapshot(
                disk=name,
                qdev=disk.qdev,
                node=disk.node,
                root=disk.root,
                file=disk.filename,
                format=disk.driver,
                snapshot_id=held.id,
                vm_clock_ns=held.vm_clock_ns,
                vm_state_size_bytes=held.vm_state_size_bytes,
                virtual_size_bytes=disk.virtual_size_bytes,
            )
        )
    return Manifest(
        tag,
        "test",
        "0" * 64,
        facts.qemu,
        facts.machine,
        tuple(sorted(parts)),
        target=facts.target,
        vm=facts.vm_uuid or facts.vm_name,
        devices=tuple((disk.name, disk.qdev) for disk in facts.disks),
        excluded=tuple(excluded),
    )


def with_link(vm, use):
    """Use a backend connected to the VM."""

    async def work():
        link = await connect(str(vm.qmp_path))
        try:
            return await use(link)
        finally:
            await link.close()

    return asyncio.run(work())


def facts_of(vm):
    """The VM's facts, as snapplan asks them."""
    return with_link(vm, ask_facts)


def write(vm, manifest) -> Path:
    """The manifest as a file beside the disks."""
    path = vm.directory / f"{manifest.tag}.manifest.json"
    path.write_text(json.dumps(manifest_to_plain(manifest)))
    return path


def record(vm, tag, disks) -> Path:
    """A manifest of what the VM holds, as a file."""
    facts = facts_of(vm)
    others = {disk.name for disk in facts.disks if disk.attached} - set(disks)
    return write(vm, manifest_of(facts, tag, disks, sorted(others)))


def save(vm, tag, disks, vmstate="", design="auto") -> Path:
    """Save with snapplan, and write the manifest."""

    async def use(link):
        facts = await ask_facts(link)
        text = request_text(tag, disks, vmstate)
        program = compile_request(read_request(text), facts, design).program
        outcome = await Pump(
            SaveMachine.on(program, facts), link, images=link.images, clock=HostClock()
        ).run()
        outcome.raise_failure()

    with_link(vm, use)
    return record(vm, tag, disks)


def act(command, source, vm=None, *more):
    """Run `snapplan COMMAND SOURCE` with --json; (exit code, what it said)."""
    where = ["--offline"] if vm is None else ["--vm", vm.qmp_path]
    done = snapplan(command, source, *where, "--json", *more)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def frozen_part(frozen):
    """A disk under an overlay, as a manifest has it."""
    return FrozenImage(
        disk=frozen.disk,
        node=frozen.node,
        file=frozen.filename,
        format=frozen.format,
        overlay=frozen.overlay,
        overlay_file=frozen.overlay_file,
        virtual_size_bytes=frozen.size_bytes,
    )


def save_external(vm, tag, disks, overlays, state="none") -> Path:
    """Save internal parts on disks and overlays over others; `state` as in a request."""
    wishes = [*(f"{disk}: internal" for disk in disks)]
    wishes += [f"{disk}: {{external: {path}}}" for disk, path in overlays.items()]
    text = "\n".join(
        [
            f"tag: {tag}",
            f"machine-state: {state}",
            f"disks: {{{', '.join(wishes)}}}",
            "others: exclude",
        ]
    )

    async def use(link):
        facts = await ask_facts(link)
        program = compile_request(read_request(text), facts).program
        pump = Pump(
            SaveMachine.on(program, facts),
            link,
            images=link.images,
            host=link.host,
            clock=HostClock(),
        )
        outcome = await pump.run()
        outcome.raise_failure()
        return outcome

    outcome = with_link(vm, use)
    facts = facts_of(vm)
    manifest = manifest_of(facts, tag, disks)
    of_kind = {
        key: [p for p in outcome.parts if p.plain_key == key] for key in ("frozen", "stream")
    }
    parts = [*manifest.parts, *map(frozen_part, of_kind["frozen"])]
    parts += [evolve(part.recorded({}), record=UNSEEN) for part in of_kind["stream"]]
    return write(vm, evolve(manifest, parts=tuple(sorted(parts))))
