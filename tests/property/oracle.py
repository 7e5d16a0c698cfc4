"""What a program does, told by a second reading of QMP that shares nothing with the planner's.

The oracle plays the steps on a picture of the VM and keeps a flat list of what happened, each with
the guest's instant: a number that grows whenever the guest may have run.
"""

from attrs import define, field

CAPTURES = ("write", "snapshot", "switch", "begin")
MADE = ("create-overlay", "create-copy", "create-vmstate-image")
NAMED = ("keep-copy", "keep-stream")
OF_NO_CONCERN = ("add-fd", "remove-fd", "flush-images")


@define
class Story:
    """What happened, in order.

    Attributes:
        happened: (what, disk, instant) for write, snapshot, discard, delete, pause, resume, freeze and
            thaw; of overlays switch; of copies begin and end; of nodes add and remove, and of files make
            and name, with the node or the file in the disk's place.
        running: Whether the guest runs.
        groups: The captures of each transaction.
        targets: By disk that is copied, the node that it is copied to.
        files: By node that was added, its file.
    """

    running: bool
    happened: list = field(factory=list)
    groups: list = field(factory=list)
    targets: dict = field(factory=dict)
    files: dict = field(factory=dict)
    instant: int = 0

    def add(self, what, disk=""):
        self.happened.append((what, disk, self.instant))

    def at(self, what, disk=None):
        """Positions of something in the story."""
        return [
            place
            for place, (found, where, _) in enumerate(self.happened)
            if found == what and disk in (None, where)
        ]

    def captures(self):
        return [entry for entry in self.happened if entry[0] in CAPTURES]


def play(program, facts):
    """Tell what the steps do."""
    node = {disk.node: disk.name for disk in facts.disks}
    root = {disk.root: disk.name for disk in facts.disks}
    story = Story(facts.run_state == "running")
    for step in program.steps:
        if step.execute == "query-jobs":
            for end in step.covers:  # a wait says only there what it is for
                story.add("end", end.disk)
            continue
        play_step(story, step.execute, step.arguments, node, root)
        if story.running:
            story.instant += 1
    return story


def play_step(story, execute, arguments, node, root):
    if execute == "stop":
        story.running = False
        story.instant += 1
        story.add("pause")
    elif execute == "cont":
        story.add("resume")
        story.running = True
        story.instant += 1
    elif execute == "snapshot-save":
        play_save(story, arguments, node)
    elif execute == "transaction":
        group = [play_action(story, a["type"], a["data"], node, root) for a in arguments["actions"]]
        story.groups.append(group)
        for what, disk in group:
            story.add(what, disk)
    elif execute == "blockdev-snapshot-delete-internal-sync":
        story.add("delete", root[arguments["device"]])
    elif execute in ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw"):
        story.add(execute.removeprefix("guest-fsfreeze-"))
    else:
        play_nodes_and_files(story, execute, arguments)


def play_nodes_and_files(story, execute, arguments):
    if execute == "blockdev-add":
        name, file = arguments["node-name"], arguments.get("file", arguments)
        story.files[name] = file["filename"]
        story.add("add", name)
    elif execute == "blockdev-del":
        story.add("remove", arguments["node-name"])
    elif execute in (*MADE, *NAMED):
        story.add("make" if execute in MADE else "name", arguments["path"])
    elif execute not in OF_NO_CONCERN:
        raise AssertionError(f"no program of ours sends {execute}")


def play_action(story, kind, data, node, root):
    if kind == "blockdev-snapshot":
        return "switch", node[data["node"]]
    if kind == "blockdev-backup":
        assert (data["sync"], data["auto-dismiss"]) == ("full", False)
        story.targets[root[data["device"]]] = data["target"]
        return "begin", root[data["device"]]
    assert kind == "blockdev-snapshot-internal-sync"
    return "snapshot", root[data["device"]]


def play_save(story, arguments, node):
    was_running = story.running
    if was_running:
        story.running = False
        story.instant += 1
        story.add("pause")
    own = arguments["vmstate"] if arguments["vmstate"] in story.files else ""
    disk_of = {**node, own: own}
    story.add("write", disk_of[arguments["vmstate"]])
    for device in arguments["devices"]:
        story.add("snapshot", disk_of[device])
    story.add("discard", disk_of[arguments["vmstate"]])
    if was_running:
        story.add("resume")
        story.running = True
        story.instant += 1


def check(program, facts, request):
    """Everything that must hold of a program; raises AssertionError with what does not."""
    story = play(program, facts)
    disks = {name: disk.name for disk in facts.disks for name in disk.names}
    wanted = {
        kind: {disks[name]: wish for name, wish in request.disks if type(wish).__name__ == kind}
        for kind in ("Internal", "External", "Copy")
    }
    check_order(story)
    check_copies(story, wanted["Copy"])
    check_one_instant(story, request)
    check_frozen(story, request)
    check_parts(story, wanted)
    check_run_state(story, facts, request)


def check_order(story):
    for place in story.at("write"):
        disk = story.happened[place][1]
        snapshot, discard = story.at("snapshot", disk), story.at("discard", disk)
        assert snapshot, f"{disk} is written, and not snapshotted"
        assert discard, f"{disk} is written, and not discarded"
        assert place < snapshot[0] < discard[0], f"write, snapshot, discard out of order on {disk}"
    for group in story.groups:
        assert len(set(group)) == len(group), "a transaction does two things to one disk"
    for delete in story.at("delete"):
        disk = story.happened[delete][1]
        later = story.at("write", disk) + story.at("snapshot", disk) + story.at("pause")
        assert all(delete < other for other in later), "deleted in the pause, or after the capture"


def check_frozen(story, request):
    freeze, thaw = story.at("freeze"), story.at("thaw")
    if request.freeze is None:
        assert not freeze + thaw, "frozen, and nobody asked for it"
        return
    (begin,), (end,) = freeze, thaw
    between = story.happened[begin + 1 : end]
    assert between == story.captures(), "the captures, and nothing else, between freeze and thaw"


def check_one_instant(story, request):
    instants = {instant for _, _, instant in story.captures()}
    assert len(instants) <= 1, "parts of different instants"
    machine_state = type(request.machine_state).__name__ != "NoMachineState"
    if not machine_state and not story.at("pause"):
        assert len(story.groups) <= 1, "a disk-only snapshot in several cuts"
        return
    for pause in story.at("pause"):
        assert all(pause < place for what in CAPTURES for place in story.at(what))
    for resume in story.at("resume"):
        assert all(place < resume for what in CAPTURES for place in story.at(what))


def check_parts(story, wanted):
    own = [disk for what, disk, _ in story.happened if what == "write" and disk in story.files]
    for what, kind, more in (("snapshot", "Internal", own), ("switch", "External", [])):
        taken = sorted(disk for found, disk, _ in story.happened if found == what)
        assert taken == sorted([*wanted[kind], *more]), f"{what}: {taken}, wanted {[*wanted[kind]]}"
    for overlay in wanted["External"].values():
        (made,) = story.at("make", overlay.path)
        assert all(made < place for place in story.at("pause")), "an overlay is made in the pause"


def check_copies(story, wanted):
    """Each is made and added before the pause, begun in it, awaited after it, closed and named."""
    assert sorted(story.targets) == sorted(wanted), "other disks are copied than was asked for"
    for disk, copy in wanted.items():
        target = story.targets[disk]
        (made,), (named,) = story.at("make", copy.path), story.at("name", copy.path)
        (added,), (closed,) = story.at("add", target), story.at("remove", target)
        (begun,), (ended,) = story.at("begin", disk), story.at("end", disk)
        assert made < added < begun < ended < closed < named, f"the copy of {disk} is out of order"
        assert all(added < place for place in story.at("pause")), "a node is added in the pause"
        assert all(place < ended for place in story.at("resume")), "a copy is awaited in the pause"
        assert story.files[target] != copy.path, "a copy has its name before it is whole"


def check_run_state(story, facts, request):
    after = request.run_state_after.value
    expected = facts.run_state if after == "as-before" else after
    assert story.running == (expected == "running"), f"the VM should end {expected}"
