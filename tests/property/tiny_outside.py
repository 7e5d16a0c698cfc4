"""What QEMU and its host do outside of the images: the other half of the oracle in `tiny_vm`.

Files, overlays, migration settings, and a stream in its three captures, played from the commands alone.
What each does is from `specs/qemu-facts.md` (facts 14, 29 to 31, 39 to 42).
"""

from dataclasses import dataclass, field

FAILS = "the command fails"


@dataclass
class Stream:
    """The one migration of a VM."""

    status: str = ""  # "", "active", "pre-switchover", "completed"
    background: bool = False
    tracking: bool = False
    instant: int = -1
    to: str = ""


@dataclass
class Outside:
    """Files, nodes and settings beside the images."""

    files: set = field(default_factory=set)
    descriptors: dict = field(default_factory=dict)
    nodes: dict = field(default_factory=dict)  # overlay's node -> its file
    on: dict = field(default_factory=dict)  # disk -> node of the overlay that the guest writes to
    settings: dict = field(default_factory=dict)
    stream: Stream = field(default_factory=Stream)
    active: bool = True


class PlaysOutside:
    """Commands that leave the images alone; mixed into `TinyVm`."""

    def do_migrate_set_capabilities(self, arguments):
        for change in arguments["capabilities"]:
            self._set(change["capability"], change["state"])

    def do_migrate_set_parameters(self, arguments):
        for name, value in arguments.items():
            self._set(name, value)

    def _set(self, name, value):
        if self.outside.stream.status not in ("", "completed"):
            self.faults.append("settings are changed while a stream is under way")
        if name not in self.outside.settings:
            self.faults.append(f"{FAILS}: this QEMU does not know {name}")
        self.outside.settings[name] = value

    def _make(self, path):
        if path in self.outside.files:
            self.faults.append(f"{path} is made over a file")
        self.outside.files.add(path)

    def do_create_overlay(self, arguments):
        self._make(arguments["path"])
        if self.running is False and self.was_running:
            self.faults.append("an image is made in the pause")
        disk = self.by_file.get(arguments["base"])
        if disk is None or self.facts[disk].driver != arguments["base-format"]:
            self.faults.append("an overlay over what is no disk, or of another format")

    def do_blockdev_add(self, arguments):
        path = arguments["file"]["filename"]
        if path not in self.outside.files or arguments["backing"] is not None:
            self.faults.append(f"{FAILS}: {path} is not there, or opens its backing file")
        self.outside.nodes[arguments["node-name"]] = path
        if self.running is False and self.was_running:
            self.faults.append("a node is added in the pause")

    def put_overlay(self, data):
        disk = self.by_node.get(data["node"])
        if disk is None or data["overlay"] not in self.outside.nodes or disk in self.outside.on:
            self.faults.append("the transaction fails: no such node, or no such overlay")
            return ""
        self.outside.on[disk] = data["overlay"]
        self._capture("overlay", disk)
        return disk

    def do_create_stream(self, arguments):
        if arguments["path"] in self.outside.files:
            self.faults.append("a stream's name is taken")
        self._make(arguments["temporary"])

    def do_keep_stream(self, arguments):
        self.outside.files.discard(arguments["temporary"])
        self._make(arguments["path"])
        stream = self.outside.stream
        if stream.status != "completed" or stream.to != arguments["temporary"]:
            self.faults.append("what gets the stream's name is no whole stream")

    def do_flush_images(self, _):
        pass

    def do_end_flushing(self, _):
        pass

    def do_flush_while_streaming(self, _):
        pass

    def do_getfd(self, arguments):
        temporary = [name for name in self.outside.files if name.endswith(".snapplan")]
        self.outside.descriptors[arguments["fdname"]] = temporary[-1]

    def do_add_fd(self, arguments):
        temporary = [name for name in self.outside.files if name.endswith(".snapplan")]
        self.outside.descriptors[f"/dev/fdset/{arguments['fdset-id']}"] = temporary[-1]

    def do_remove_fd(self, arguments):
        del self.outside.descriptors[f"/dev/fdset/{arguments['fdset-id']}"]
        if self.outside.stream.status != "completed":
            self.faults.append("a stream loses its descriptor")

    def do_migrate(self, arguments):
        outside, (kind, _, name) = self.outside, arguments["uri"].partition(":")
        to = outside.descriptors.get(name)
        if kind not in self.uris or to not in outside.files:
            self.faults.append(f"{FAILS}: this QEMU does not write to {arguments['uri']}")
        if outside.stream.status:
            self.faults.append("a second stream")
        on = {name for name, value in outside.settings.items() if value is True}
        if {"background-snapshot", "mapped-ram"} <= on or on & BREAKING:
            self.faults.append("the stream cannot be loaded, or is none")
        outside.stream = Stream("active", "background-snapshot" in on, to=to)
        if outside.stream.background:
            self._begin_background()
        elif "pause-before-switchover" in on and self.running:
            self.running = False
            self.log.append(("pause", ""))
            outside.stream.status = "pre-switchover"
        else:
            self._complete()

    def _begin_background(self):
        if self.running:
            self.faults.append("a background stream of a running guest")
        if self.version < (10, 0):
            self.faults.append("QEMU resumes the guest by itself")
        self.outside.stream.instant = self.instant
        self._capture("stream", "")

    def _complete(self):
        if self.running:
            self.faults.append("the stream is of a later instant than anything of it is known")
        self._capture("stream", "")
        self.outside.stream.status = "completed"
        self.outside.stream.instant = self.instant
        self.outside.active = False

    def do_migrate_continue(self, arguments):
        if self.outside.stream.status != arguments["state"]:
            self.faults.append(f"{FAILS}: the stream is not at {arguments['state']}")
        self._complete()

    def do_query_migrate(self, _):
        """A step that looks: first until writes are tracked, then until the stream is whole."""
        stream = self.outside.stream
        if not stream.background:
            return
        if not stream.tracking:
            stream.tracking = True
            return
        stream.status = "completed"
        if not self.running and self.was_running and self.ends_running:
            self.faults.append("the guest stands until the stream is whole")

    def guest_goes_on(self):
        """What `cont` does to a stream (facts 29 and 40)."""
        stream = self.outside.stream
        self.outside.active = True
        if stream.background and stream.status == "active" and not stream.tracking:
            self.faults.append("the stream is silently of a later instant")
        if stream.status == "pre-switchover":
            self.faults.append("the guest runs on before the stream is whole")


BREAKING = frozenset({"multifd", "postcopy-ram", "x-ignore-shared", "dirty-bitmaps", "x-colo"})


def complaints_outside(vm, wanted):
    """What is wrong outside of the images after a run; empty: all is as it must be.

    Args:
        vm: After the run.
        wanted: By "overlays" (disk to path) and "stream" (a path, or nothing), what was asked for.
    """
    outside, found = vm.outside, []
    paths = {*wanted["overlays"].values()} | ({wanted["stream"]} if wanted["stream"] else set())
    if outside.files != paths:
        found.append(f"files {sorted(outside.files)} instead of {sorted(paths)}")
    put = {disk: outside.nodes[node] for disk, node in outside.on.items()}
    if put != wanted["overlays"] or set(outside.nodes.values()) != set(put.values()):
        found.append("overlays are on other disks, or on none")
    if outside.settings != vm.settings_before:
        found.append("settings are not as they were")
    if not outside.active:
        found.append("the nodes stay inactive")
    if bool(outside.stream.status) != bool(wanted["stream"]):
        found.append("a stream that nobody asked for, or none")
    if wanted["stream"] and outside.stream.status != "completed":
        found.append("the stream is not whole")
    if sum(part.what == "stream" for part in vm.parts) != bool(wanted["stream"]):
        found.append("machine state is captured more than once, or never")
    return found
