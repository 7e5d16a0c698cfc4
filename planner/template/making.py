"""Makes a template's files: its QEMU reads the snapshot into memory that is files, and writes the rest.

    copies of the disks, empty files for the memory, throw-away overlays
      QEMU on these, stopped; it is looked at; it reads the machine state; its guest never runs
      it writes the devices' state, which leaves out what is in shared files (`x-ignore-shared`); it ends
    each file: written back, read once for its digest, and named

What is read back is what QEMU wrote: a file that somebody still has open is not named.
`x-ignore-shared` leaves out just the memory that is a file and shared, so it is asked of QEMU whether
all of it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from planner.errors import Problem, Refused, RunFailed, in_order
from planner.host.evidence import record_of
from planner.load.restored_vm import check_started, read_state
from planner.model.facts import Facts, QemuVersion
from planner.model.file_record import FileRecord
from planner.parts.overlay import FrozenImage
from planner.parts.readied import Readied
from planner.parts.template import Template, TemplateDisk, TemplateFile, TemplateMemory
from planner.program.program import DESCRIPTOR_NAME
from planner.program.resolution import descriptor_set, temporary_path
from planner.run.ports import Backend, CommandRefused, ConnectionLost, Host, HostRefused, NoReply
from planner.run.reporting import Teller
from planner.template.held_state import asked, layer_over, load_held, not_after
from planner.template.making_plan import MakingPlan
from planner.template.unfit import unfit_devices

__all__ = ["fill", "keep", "prepare", "take_away"]

_HOST_TIMEOUT_S = 3600.0
_COMMAND_TIMEOUT_S = 60.0
_LOOK_EACH_S = 0.02
_IGNORE_SHARED = "x-ignore-shared"
_SET_SINCE = (8, 2)
"""From which version on QEMU writes a stream to a descriptor of a set (fact 75)."""


async def prepare(plan: MakingPlan, host: Host, reporter: Teller) -> None:
    """Make the copies, and an empty file for each memory object.

    Raises:
        RunFailed: One could not be made.
    """
    like = next((part.file for part in plan.manifest.disk_parts), "")
    wanted: list[tuple[str, str, dict[str, object]]] = []
    for each in plan.copies:
        how, arguments = each.part.ready_instruction(Readied.CONVERT, each.temporary)
        wanted.append((f"copy {each.part.disk}", how, arguments))
    if plan.held_state and plan.holder is not None:
        layer = layer_over(plan.holder.file, plan.held_state)
        wanted.append(("a throw-away layer over the machine state", "create-overlay", layer))
    for one in plan.memory_being_made:
        sized: dict[str, object] = {"path": one.file, "size": one.size_bytes, "like": like}
        wanted.append((f"a file for {one.id}", "create-memory", sized))
    for number, (what, instruction, arguments) in enumerate(wanted, 1):
        reporter.step(number, len(wanted), what)
        await _host(host, instruction, arguments)
    stream = {"path": plan.state, "temporary": temporary_path(plan.state), "mapped": False}
    await _host(host, "create-stream", stream)


async def fill(plan: MakingPlan, backend: Backend, host: Host, deadline_s: float) -> QemuVersion:
    """Have a QEMU that was just started read the snapshot, and write the devices' state.

    Returns:
        Which QEMU it is.  It has ended, or ends.

    Raises:
        Refused: It is not the VM that was saved, or its memory is not all in our files.
        RunFailed: It did not take the machine state, or did not write it (``template-failed``).
    """
    facts = await check_started(plan.restore, backend)
    await _check_memory(plan, backend, facts)
    try:
        if plan.holder is None:
            await read_state(plan.restore, backend, facts, deadline_s)
        else:
            await load_held(plan, plan.holder, backend, host, deadline_s)
        await _write_state(plan, backend, facts, host, deadline_s)
    except (CommandRefused, ConnectionLost, NoReply, HostRefused) as failed:
        words = f"QEMU did not make the template: {failed}"
        problem = Problem("template-failed", plan.manifest.tag, str(failed))
        raise RunFailed(words, problems=(problem,), code=problem.code) from failed
    with suppress(CommandRefused, ConnectionLost, NoReply):
        await backend.execute("quit", {}, _COMMAND_TIMEOUT_S)
    return facts.qemu


async def keep(
    plan: MakingPlan, qemu: QemuVersion, words: Sequence[str], host: Host, reporter: Teller
) -> Template:
    """Name each file, when QEMU has ended: written back, and read once; the devices' state last.

    Args:
        plan: What was made.
        qemu: The QEMU that made it.
        words: Its command line, with its places.
        host: Where the files are.
        reporter: Who is told.

    Returns:
        The template, with what its files are.

    Raises:
        RunFailed: A file could not be named.
    """
    memory = []
    for each in plan.memory:
        reporter.step(1, 2, f"read and write back {each.id}")
        record = await _kept(each.file, host, empty_too=False)
        memory.append(TemplateMemory(each.id, each.size_bytes, each.file, record))
    copies = {each.part.disk: each.file for each in plan.copies}
    disks = []
    for part in plan.manifest.disk_parts:
        own = part.disk in copies
        if own:
            reporter.step(2, 2, f"read and write back the copy of {part.disk}")
            record = await _kept(copies[part.disk], host, empty_too=True, mode=0o400)
            disks.append(TemplateDisk(part.disk, copies[part.disk], "qcow2", own, record))
        elif isinstance(part, FrozenImage):
            disks.append(TemplateDisk(part.disk, part.file, part.format, own, part.record))
    told = await _host(
        host,
        "keep-stream",
        {"path": plan.state, "temporary": temporary_path(plan.state)},
    )
    state = TemplateFile(plan.state, _recorded(plan.state, told))
    return Template(tuple(memory), state, qemu, tuple(words), tuple(disks), time.time_ns())


async def take_away(files: tuple[str, ...], host: Host) -> tuple[Problem, ...]:
    """Remove what a making has made; which files are left, each with why."""
    left = []
    for file in files:
        try:
            await host.do("remove-made", {"path": file}, _HOST_TIMEOUT_S)
        except (HostRefused, NoReply) as failed:
            left.append(Problem("file-left", file, str(failed), "`snapplan gc` removes it"))
    return tuple(left)


async def _check_memory(plan: MakingPlan, backend: Backend, facts: Facts) -> None:
    """QEMU has each memory object in our file, shared, and no other; nothing else is in its way.

    Raises:
        Refused: It has not; it was asked questions only.
    """
    problems = list(unfit_devices(facts.devices, facts.qemu))
    wanted = {each.id: each for each in plan.memory_being_made}
    for said in await asked(backend, "query-memdev", {}):
        name = str(said.get("id", ""))
        if name not in wanted:
            words = f"QEMU has memory {name!r}, which is in no file of the template"
            remedy = "say each memory object of the VM with -object"
            problems.append(Problem("template-memory", name, words, remedy))
    for name, one in wanted.items():
        path, size, shared = [
            await _property(backend, name, what) for what in ("mem-path", "size", "share")
        ]
        if (path, size, shared) != (one.file, one.size_bytes, True):
            words = f"QEMU has it in {path!r}, {size} bytes, {'' if shared else 'not '}shared"
            problems.append(Problem("template-memory", name, words))
    if problems:
        message = "the QEMU that was started has not all of its memory in the template's files"
        raise Refused(message, problems=in_order(problems), code="template-refused")


async def _property(backend: Backend, name: str, what: str) -> object:
    try:
        asked = {"path": f"/objects/{name}", "property": what}
        return await backend.execute("qom-get", asked, _COMMAND_TIMEOUT_S)
    except CommandRefused:
        return None


async def _write_state(
    plan: MakingPlan, backend: Backend, facts: Facts, host: Host, deadline_s: float
) -> None:
    """Write the devices' state through a descriptor, without the memory that is in shared files."""
    capability = [{"capability": _IGNORE_SHARED, "state": True}]
    await backend.execute(
        "migrate-set-capabilities", {"capabilities": capability}, _COMMAND_TIMEOUT_S
    )
    descriptor = host.descriptor(temporary_path(plan.state))
    number = descriptor_set(plan.state)
    in_a_set = (facts.qemu.major, facts.qemu.minor) >= _SET_SINCE
    command, arguments, uri = (
        ("add-fd", {"fdset-id": number, "opaque": DESCRIPTOR_NAME}, f"file:/dev/fdset/{number}")
        if in_a_set
        else ("getfd", {"fdname": DESCRIPTOR_NAME}, f"fd:{DESCRIPTOR_NAME}")
    )
    await backend.execute_with_descriptor(command, arguments, descriptor, _COMMAND_TIMEOUT_S)
    await backend.execute("migrate", {"uri": uri}, _COMMAND_TIMEOUT_S)
    deadline = time.monotonic() + deadline_s
    while True:
        reply = await backend.execute("query-migrate", {}, _COMMAND_TIMEOUT_S)
        said = reply if isinstance(reply, dict) else {}
        if said.get("status") == "completed":
            return
        if said.get("status") in ("failed", "cancelled"):
            raise NoReply(str(said.get("error-desc") or "the migration failed"))
        not_after(deadline, "the devices' state is not written", deadline_s)
        await asyncio.sleep(_LOOK_EACH_S)


async def _kept(file: str, host: Host, *, empty_too: bool, mode: int = 0o600) -> FileRecord:
    told = await _host(
        host,
        "keep-made",
        {"path": file, "temporary": temporary_path(file), "mode": mode, "empty-too": empty_too},
    )
    return _recorded(file, told)


def _recorded(file: str, told: Mapping[str, object]) -> FileRecord:
    found = record_of(file)
    return FileRecord(
        found.device,
        found.inode,
        found.size_bytes,
        found.mtime_ns,
        found.ctime_ns,
        str(told.get("sha256", "")),
    )


async def _host(
    host: Host, instruction: str, arguments: Mapping[str, object]
) -> Mapping[str, object]:
    try:
        return await host.do(instruction, arguments, _HOST_TIMEOUT_S)
    except HostRefused as refused:
        problem = Problem(refused.code, str(arguments.get("path", "")), refused.description)
        raise RunFailed.of(problem) from refused
    except NoReply as silent:
        problem = Problem("template-failed", str(arguments.get("path", "")), str(silent))
        raise RunFailed.of(problem) from silent
