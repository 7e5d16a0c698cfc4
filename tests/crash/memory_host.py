"""The host's files in memory, as a run makes them; see `tests.crash.killed_external`.

Every instruction has a moment before it, one where it is half done, and one after it.
"""

from attrs import define, evolve, field

from planner.run.ports import HostRefused
from planner.semantics import content_node

OPEN = 7
"""The descriptor of any file that a snapplan has open."""


@define(eq=False)
class File:
    """A file; one that two names mean is one object.

    Attributes:
        base: What an overlay lies over; empty for a stream.
        content: What the disk reads as through an overlay; None: as its base.  The higher of two was
            written later.
        frozen: What the base held when it was frozen; None: it is not under this one yet.
        copy: Whether it is a disk's copy; `content` is what it holds then, None: not all of a disk.
    """

    base: str = ""
    content: int | None = None
    frozen: int | None = None
    copy: bool = False


@define
class MemoryHost:
    """A `planner.run.ports.Host` of one process of snapplan, as `backends.host` is one."""

    vm: object
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
        return OPEN

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
            case "look-at-open":  # here QEMU shows what its images hold
                return {"info": {}}
            case "flush-images" | "flush-while-streaming" | "end-flushing" | "look-before-write":
                return {}
        return self._do_own(instruction, path, arguments)

    def _do_own(self, instruction, path, arguments):
        """What is done to a file that has a temporary name first."""
        temporary = arguments["temporary"]
        match instruction:
            case "create-stream" | "create-vmstate-image":
                return self._create_stream(path, temporary)
            case "create-copy":
                told = self._create_stream(path, temporary)
                self.vm.files[temporary].copy = True
                return told
            case "keep-copy":
                return self._keep_copy(path, temporary)
            case "keep-stream":
                return self._keep_stream(path, temporary)
            case "remove-stream":
                return self._remove_stream(path, temporary, arguments["named"])
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

    def _keep_copy(self, path, temporary):
        files = self.vm.files
        if temporary not in files:
            raise HostRefused("file-unwritable", "no such file")
        if self.vm.is_open(temporary):
            raise HostRefused("image-in-use", temporary)
        if path in files:
            raise HostRefused("file-exists", path)
        files[path] = files[temporary]
        self._half_done("keep-copy")
        del files[temporary]
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
