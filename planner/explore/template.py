"""Every interleaving of making a template and of clones of it, with one fault: what can go wrong?

The maker's acts run in their order.  Once the manifest names the template, each clone may begin, and
clones run beside each other; a clone that runs writes its memory, and ends.  One fault may strike
anywhere: the maker is killed, the power is cut, somebody changes a file while no clone lives, the
balloon of a clone takes a page.  A template is good if, whatever the order,

- **clone-memory-is-the-instant**: a clone that is let run has memory and devices of the instant that
  was saved;
- **template-unchanged**: its files hold what was recorded, unless somebody else changed them;
- **nothing-half-made**: what the manifest names is there, whole and on the disk;
- **clone-saves-like-any-other**: a clone that runs has left no capability on;
- **every-clone-starts**: where no fault strikes, nothing is refused.

The search is breadth first, so that a counterexample is the shortest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from planner.program.template_acts import Act, ActKind, MadeFrom, memories_of
from planner.semantics.memory_files import (
    MappedMemory,
    MemoryHost,
    QemuRefuses,
    RamFile,
    StateFile,
    change_file,
    cut_power,
    end_qemu,
    inflate_balloon,
    memory_of_qemu,
    read_stream,
    rename,
    run_guest,
    set_ignore_shared,
    start_qemu,
    sync,
    write_stream,
)

__all__ = ["TEMPLATE_PROPERTIES", "TemplateSetting", "TemplateVerdict", "explore_template"]

INSTANT = 1
SOURCE = "source"
MAKER = "maker"
CHANGED = 99
TEMPLATE_PROPERTIES = (
    "clone-memory-is-the-instant",
    "template-unchanged",
    "nothing-half-made",
    "clone-saves-like-any-other",
    "every-clone-starts",
)


@frozen
class TemplateSetting:
    """What is explored.

    Attributes:
        making: The acts of the maker; they read the source's stream, whose name is `SOURCE`.
        clone: The acts of each clone.
        template: What is made, of one block of memory.
        clones: How many clones.
        faults: How many faults may strike.
        found: Files that are there before.
    """

    making: Sequence[Act]
    clone: Sequence[Act]
    template: MadeFrom
    clones: int = 2
    faults: int = 1
    found: Mapping[str, RamFile] = field(factory=dict)


@frozen
class TemplateVerdict:
    """What an exploration found.

    Attributes:
        states: How many states were seen.
        broken: The property that does not hold; empty: all hold.
        why: What is wrong, in a clause.
        trace: What leads there.
    """

    states: int
    broken: str = ""
    why: str = ""
    trace: tuple[str, ...] = ()


@frozen
class _World:
    host: MemoryHost
    at: Mapping[str, int]
    ran: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    recorded: tuple[str, ...] = ()
    faults: int = 0
    changed: bool = False
    wrong: tuple[str, str] = ("", "")

    def key(self) -> tuple[object, ...]:
        return (
            self.host.key(), tuple(sorted(self.at.items())), self.ran, self.gone, self.recorded,
            self.faults, self.changed,
        )  # fmt: skip


def explore_template(setting: TemplateSetting) -> TemplateVerdict:
    """Search all interleavings; the verdict has the shortest way to what goes wrong first."""
    names = [f"clone {number}" for number in range(1, setting.clones + 1)]
    source = StateFile(INSTANT, (INSTANT, INSTANT), ignores_shared=False, lasts=True)
    host = MemoryHost(ram=dict(setting.found), states={SOURCE: source})
    first = _World(host, dict.fromkeys([MAKER, *names], 0), faults=setting.faults)
    seen = {first.key()}
    layer: list[tuple[_World, tuple[str, ...]]] = [(first, ())]
    while layer:
        following: list[tuple[_World, tuple[str, ...]]] = []
        for world, trace in layer:
            for text, then in _moves(setting, world):
                way = (*trace, text)
                broken, why = then.wrong if then.wrong[0] else _judge(setting, then)
                if broken:
                    return TemplateVerdict(len(seen), broken, why, way)
                if then.key() not in seen:
                    seen.add(then.key())
                    following.append((then, way))
        layer = following
    return TemplateVerdict(len(seen))


# --- what can happen next -------------------------------------------------------------------------


def _moves(setting: TemplateSetting, world: _World) -> Iterator[tuple[str, _World]]:
    for name, at in world.at.items():
        acts = setting.making if name == MAKER else setting.clone
        if name in world.gone or (name != MAKER and not world.recorded):
            continue
        if at < len(acts):
            yield f"{name}: {acts[at]}", _act(setting, world, name, acts[at])
        elif name in world.host.qemus:
            yield from _lives(world, name)
    if world.faults:
        yield from _faults(setting, evolve(world, faults=world.faults - 1))


def _act(setting: TemplateSetting, world: _World, name: str, act: Act) -> _World:
    if act.kind is ActKind.CHECK and world.changed:
        return _leave(world, name)  # it is not what was recorded: refused
    world = evolve(world, at={**world.at, name: world.at[name] + 1})
    if act.kind is ActKind.RECORD:
        return evolve(world, recorded=act.files)
    try:
        host = _done(setting, world.host, name, act)
    except QemuRefuses as refused:
        if setting.faults != world.faults:
            return _leave(world, name)
        return evolve(world, wrong=("every-clone-starts", f"QEMU says: {refused}"))
    world = evolve(world, host=host)
    if act.execute == "cont":
        return _let_run(world, name)
    return world


def _leave(world: _World, name: str) -> _World:
    host = end_qemu(world.host, name) if name in world.host.qemus else world.host
    return evolve(world, host=host, gone=world.gone | {name})


def _done(setting: TemplateSetting, host: MemoryHost, name: str, act: Act) -> MemoryHost:
    if act.kind is ActKind.START:
        return start_qemu(host, name, _mapped(act.words, setting.template))
    if act.kind is ActKind.END:
        return end_qemu(host, name)
    if act.kind is ActKind.SYNC:
        return sync(host, act.file)
    if act.kind is ActKind.NAME:
        return rename(host, act.file, act.to)
    if act.kind is ActKind.SEND:
        return _sent(setting, host, name, act)
    return host


def _sent(setting: TemplateSetting, host: MemoryHost, name: str, act: Act) -> MemoryHost:
    uri = str(act.arguments.get("uri", ""))
    file = uri.partition(":")[2]
    if act.execute == "migrate":
        return write_stream(host, name, file)
    if act.execute == "migrate-incoming":
        return read_stream(host, name, file, setting.template.memory[0].id)
    if act.execute == "migrate-set-capabilities":
        changes = act.arguments.get("capabilities")
        for change in changes if isinstance(changes, list) else []:
            if change.get("capability") == "x-ignore-shared":
                host = set_ignore_shared(host, name, on=bool(change.get("state")))
    return host


def _mapped(words: Sequence[str], template: MadeFrom) -> MappedMemory:
    found = memories_of(words)
    if not found:
        return MappedMemory(template.memory[0].id)
    memory = found[0]
    return MappedMemory(memory.id, memory.file, memory.share, memory.read_only, memory.discard_data)


def _let_run(world: _World, name: str) -> _World:
    found = memory_of_qemu(world.host, name)
    device = world.host.qemus[name].device
    if name != MAKER and (found != (INSTANT, INSTANT) or device != INSTANT):
        why = f"{name} runs on memory of {found} with devices of {device}; saved was {INSTANT}"
        return evolve(world, wrong=("clone-memory-is-the-instant", why))
    if name != MAKER and world.host.qemus[name].ignores_shared:
        why = f"{name} runs with x-ignore-shared on: what it saves nobody else can load"
        return evolve(world, wrong=("clone-saves-like-any-other", why))
    return evolve(world, host=run_guest(world.host, name))


def _lives(world: _World, name: str) -> Iterator[tuple[str, _World]]:
    if name != MAKER and name not in world.ran:
        run = evolve(world, host=run_guest(world.host, name), ran=world.ran | {name})
        yield f"{name} writes its memory", run
    yield f"{name} ends", _leave(world, name)


def _faults(setting: TemplateSetting, world: _World) -> Iterator[tuple[str, _World]]:
    if world.at[MAKER] < len(setting.making) and MAKER not in world.gone:
        yield "the maker is killed", _leave(world, MAKER)
    everybody = frozenset(name for name in world.at if name == MAKER or world.at[name])
    dark = evolve(world, host=cut_power(world.host), gone=world.gone | everybody)
    yield "the power is cut", dark
    living = [name for name in world.host.qemus if name != MAKER]
    file = setting.template.memory[0].file
    busy = any(world.at[name] for name in world.at if name != MAKER and name not in world.gone)
    if world.recorded and not living and not busy and file in world.host.ram:
        changed = change_file(world.host, file, CHANGED)
        yield f"somebody changes {file}", evolve(world, host=changed, changed=True)
    for name in living:
        if world.at[name] == len(setting.clone):
            yield (
                f"the balloon of {name} takes a page",
                evolve(world, host=inflate_balloon(world.host, name)),
            )


# --- what must hold -------------------------------------------------------------------------------


def _judge(setting: TemplateSetting, world: _World) -> tuple[str, str]:
    host, template = world.host, setting.template
    if not world.recorded:
        return "", ""
    ram, state = host.ram.get(template.memory[0].file), host.states.get(template.state)
    if set(world.recorded) != set(template.files) or ram is None or state is None:
        return "nothing-half-made", "the manifest does not name what is there"
    if not world.changed and ram.pages != (INSTANT, INSTANT):
        return "template-unchanged", f"the memory's file holds {ram.pages}; saved was {INSTANT}"
    if state.device != INSTANT or state.memory is not None:
        return "template-unchanged", "the state's file is not the devices' alone"
    if not world.changed and not (ram.lasts and state.lasts):
        return "nothing-half-made", "the manifest names a file that a power cut spoils"
    return "", ""
