"""A simulated VM with files beside it, for runs with overlays and streams that die at any moment.

Files outlive snapplan and QEMU; open descriptors do not outlive snapplan.  Every instruction of the host
has a moment before it, one where it is half done, and one after it (`tests.crash.killing`).
"""

from attrs import define, evolve, field

from planner.recover.gone import GoneVm, ImagesOfAnother
from planner.recover.recovery import Link, pending_runs, recover_run
from planner.run.ports import CommandRefused, HostRefused
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from planner.save.save_run import begin_save
from planner.semantics import (
    advance_background,
    content_node,
    lookup,
    next_in_background,
    run_background,
)
from planner.store.instance import Instance
from planner.store.store import Store
from tests.crash.killing import IDENTITY, KilledVm

_OPEN = 7


@define(eq=False)
class File:
    """A file; one that two names mean is one object.

    Attributes:
        base: What an overlay lies over; empty for a stream.
        content: What the disk reads as through an overlay; None: as its base.  The higher of two was
            written later.
        frozen: What the base held when it was frozen; None: it is not under this one yet.
    """

    base: str = ""
    content: int | None = None
    frozen: int | None = None


@define
class FilesVm(KilledVm):
    """The VM, and the files that a run makes.

    Attributes:
        files: Each file, by name.
        locked: Files that another QEMU has open.
    """

    files: dict = field(factory=dict)
    locked: frozenset = frozenset()

    async def execute(self, command, arguments, timeout_s):
        name = arguments["file"].get("filename", "") if command == "blockdev-add" else ""
        if name and not name.startswith("/dev/fdset/") and name not in self.files:
            raise CommandRefused("GenericError", "Could not open: No such file or directory")
        try:
            return await super().execute(command, arguments, timeout_s)
        finally:
            self.note_content()

    async def execute_with_descriptor(self, command, arguments, descriptor, timeout_s):
        assert descriptor == _OPEN
        return await self.execute(command, arguments, timeout_s)

    async def wait_for_event(self, timeout_s):
        if self.linked and not self.state.died and next_in_background(self.state):
            self._guest_works()
            done = advance_background(self.state)
            self.state = done.state
            self._emit(done.events)
            self.note_content()
        await super().wait_for_event(timeout_s)

    def note_content(self):
        """What an overlay's node holds is what its file holds, for as long as there is a node."""
        for node in self.state.graph.nodes:
            held = self.files.get(node.filename)
            if held is not None and node.driver == "qcow2" and self.attached(node):
                held.content = node.layer.content
                if held.frozen is None:
                    below = self.state.graph.node(node.backing)
                    held.frozen = content_node(self.state.graph, below).layer.content

    def attached(self, overlay):
        return bool(overlay.backing)

    def goes_on(self):
        """Nobody listens, and what is under way goes on to its end."""
        if not self.state.died:
            self.state = run_background(self.state).state
            self._guest_works()
            self.note_content()

    def disk_content(self, disk):
        """What the guest reads from a disk."""
        root = next(d.node for d in self.state.devices if disk in d.qdev or d.name == disk)
        return content_node(self.state.graph, self.state.graph.node(root)).layer.content

    def base_content(self, disk):
        """What is in a disk's own image."""
        return content_node(self.state.graph, lookup(self.state, disk)).layer.content


@define
class MemoryHost:
    """A `planner.run.ports.Host` of one process of snapplan, as `backends.host` is one."""

    vm: FilesVm
    opened: set = field(factory=set)

    async def do(self, instruction, arguments, timeout_s):
        del timeout_s
        self.vm.moments.pass_by(f"before {instruction}")
        try:
            return self._do(instruction, arguments)
        finally:
            self.vm.moments.pass_by(f"after {instruction}")

    def descriptor(self, temporary):
        if temporary not in self.opened:
            raise HostRefused("file-unreadable", f"{temporary} is not open here")
        return _OPEN

    def _do(self, instruction, arguments):
        path = arguments.get("path", "")
        match instruction:
            case "create-overlay":
                return self._create_overlay(path, arguments["base"])
            case "remove-overlay":
                return self._remove_overlay(path, arguments["base"])
            case "merge-overlay":
                return self._merge_overlay(path, arguments)
            case "note-overlay" | "remove-merged" | "remove-if-equal" | "look-before-merge":
                return self._about_merge(instruction, path, arguments)
            case "is-there":
                there = not path.startswith("/images/new") or path in self.vm.files
                return {"there": there, "gone": not there}
            case "create-stream" | "create-vmstate-image":
                return self._create_stream(path, arguments["temporary"])
            case "keep-stream":
                return self._keep_stream(path, arguments["temporary"])
            case "remove-stream":
                return self._remove_stream(path, arguments["temporary"], arguments["named"])
            case "flush-images" | "flush-while-streaming" | "end-flushing" | "look-before-write":
                return {}
        raise AssertionError(instruction)

    def _half_done(self, instruction):
        self.vm.moments.pass_by(f"in {instruction}")

    def _create_overlay(self, path, base):
        files = self.vm.files
        if path in files:
            raise HostRefused("file-exists", path)
        files[_hidden(path)] = File(base)
        self._half_done("create-overlay")
        files[path] = files[_hidden(path)]
        self._half_done("create-overlay")
        del files[_hidden(path)]
        return {}

    def _remove_overlay(self, path, base):
        files = self.vm.files
        left_over = files.pop(_hidden(path), None) is not None
        self._half_done("remove-overlay")
        if path not in files:
            return {"removed": left_over}
        self._must_be_over(path, base)
        del files[path]
        return {"removed": True}

    def _merge_overlay(self, path, arguments):
        files, base = self.vm.files, arguments["base"]
        if path in files:
            self._must_be_over(path, base)
            self._must_be_closed(path, base)
            if self._is_unmerged(path, base, arguments):
                self._write(base, files[path].content)
            elif not self._reads_the_same(path, base):
                raise HostRefused("overlay-unproved", path)
        self._half_done("merge-overlay")
        return self._remove_overlay(path, base)

    def _must_be_closed(self, path, base):
        if not self.vm.state.died or self.vm.locked & {path, base}:
            raise HostRefused("image-in-use", "Failed to get lock")

    def _is_unmerged(self, path, base, arguments):
        """As `backends.merges` proves it by the times of the files."""
        file, written = self.vm.files[path], self._content_of(base)
        if file.content is None:
            return False
        if arguments.get("frozen-ns"):
            return written == file.frozen
        return file.content > written

    def _reads_the_same(self, path, base):
        return self.vm.files[path].content in (None, self._content_of(base))

    def _content_of(self, filename):
        found = [
            n for n in self.vm.state.graph.nodes if n.filename == filename and n.driver != "file"
        ]
        return content_node(self.vm.state.graph, found[0]).layer.content

    def _about_merge(self, instruction, path, arguments):
        files, base = self.vm.files, arguments["base"]
        if instruction == "look-before-merge":
            self._must_be_over(path, base)
            if not arguments["online"]:
                self._must_be_closed(path, base)
                proved = self._is_unmerged(path, base, arguments)
                if not proved and not self._reads_the_same(path, base):
                    raise HostRefused("overlay-unproved", path)
            return {}
        if path not in files:
            return {}
        if instruction == "note-overlay":
            return {"content": files[path].content}
        if instruction == "remove-merged":
            opened = not self.vm.state.died and any(
                node.filename == path for node in self.vm.state.graph.nodes
            )
            if opened or path in self.vm.locked:
                raise HostRefused("image-in-use", path)
            if arguments["seen"] != {"content": files[path].content}:
                raise HostRefused("file-differs", path)
        else:
            self._must_be_closed(path, base)
            if not self._reads_the_same(path, base):
                raise HostRefused("overlay-unproved", path)
        return self._remove_overlay(path, base)

    def _write(self, filename, content):
        node = self.vm._by_file(filename)
        layer = evolve(node.layer, content=content)
        self.vm.state = self.vm.state.with_nodes(evolve(node, layer=layer))

    def _must_be_over(self, path, base):
        if self.vm.files[path].base != base:
            raise HostRefused("file-differs", path)

    def _create_stream(self, path, temporary):
        if {path, temporary} & set(self.vm.files):
            raise HostRefused("file-exists", path)
        self.vm.files[temporary] = File()
        self.opened.add(temporary)
        return {}

    def _keep_stream(self, path, temporary):
        files = self.vm.files
        if temporary not in files:
            raise HostRefused("file-unwritable", "no such file")
        if not (self.vm.state.streams or self.vm.state.images):
            raise HostRefused("stream-empty", path)
        if path in files:
            raise HostRefused("file-exists", path)
        files[path] = files[temporary]
        self._half_done("keep-stream")
        del files[temporary]
        self.opened.discard(temporary)
        return {"size": 1}

    def _remove_stream(self, path, temporary, named):
        files = self.vm.files
        self.opened.discard(temporary)
        here = temporary in files
        own = path in files and (files[temporary] is files[path] if here else named)
        if own:
            del files[path]
        self._half_done("remove-stream")
        return {"removed": files.pop(temporary, None) is not None or own}


def _hidden(path):
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.snapplan"


async def apply(vm, planned, folder):
    """What `snapplan apply` does, from the plan on."""
    store = Store(folder).vm(IDENTITY)
    vm.armed = True
    run = begin_save(store, IDENTITY, planned.plan, planned.facts, instance=Instance((1,)))
    pump = Pump(SaveMachine.on(planned.plan.program, planned.facts), vm,
        images=vm, host=MemoryHost(vm), clock=vm, recorder=run.recorder(),
    )  # fmt: skip
    outcome = await pump.run()
    run.settle(outcome)
    return outcome


async def recover(vm, folder, *, another=None):
    """What `snapplan recover` does; its host has nothing open."""
    found = []
    for pending in pending_runs(Store(folder)):
        link = await _link(vm, another)
        vm.armed = True
        found.append((await recover_run(pending, link, clock=vm)).outcome)
    return found


async def _link(vm, another):
    host = MemoryHost(vm)
    if another is not None:
        another.armed = False
        facts = await ask_facts(another)
        another.armed = True
        another.moments = vm.moments
        return Link(GoneVm(), ImagesOfAnother(another, facts, None), host=host)
    if vm.state.died:
        return Link(GoneVm(), vm, host=host)
    await vm.connect(1.0)
    return Link(vm, vm, await ask_facts(vm), host=host)


def die(vm):
    """QEMU is killed too."""
    if not vm.state.died:
        vm.note_content()
        vm.state = evolve(vm.state, died="killed", pending=(), background=(), block_work=())


def vm_of(planned):
    """A new VM as it was."""
    return FilesVm(planned.state, planned.plan.request.tag)
