"""What a program does, told by a second reading of QMP that shares nothing with the planner's.

The oracle plays the steps on a picture of the VM and keeps a flat list of what happened, each with
the guest's instant: a number that grows whenever the guest may have run.
"""

from attrs import define, field


@define
class Story:
    """What happened, in order.

    Attributes:
        happened: (what, disk, instant) for write, snapshot, discard, delete, pause, resume.
        running: Whether the guest runs.
        groups: The snapshots of each transaction.
    """

    running: bool
    happened: list = field(factory=list)
    groups: list = field(factory=list)
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
        return [entry for entry in self.happened if entry[0] in ("write", "snapshot")]


def play(program, facts):
    """Tell what the steps do."""
    node = {disk.node: disk.name for disk in facts.disks}
    root = {disk.root: disk.name for disk in facts.disks}
    story = Story(facts.run_state == "running")
    for step in program.steps:
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
        group = [root[action["data"]["device"]] for action in arguments["actions"]]
        story.groups.append([("snapshot", disk) for disk in group])
        for disk in group:
            story.add("snapshot", disk)
    elif execute == "blockdev-snapshot-delete-internal-sync":
        story.add("delete", root[arguments["device"]])
    elif execute in ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw"):
        story.add(execute.removeprefix("guest-fsfreeze-"))
    else:
        raise AssertionError(f"no program of ours sends {execute}")


def play_save(story, arguments, node):
    was_running = story.running
    if was_running:
        story.running = False
        story.instant += 1
        story.add("pause")
    story.add("write", node[arguments["vmstate"]])
    for device in arguments["devices"]:
        story.add("snapshot", node[device])
    story.add("discard", node[arguments["vmstate"]])
    if was_running:
        story.add("resume")
        story.running = True
        story.instant += 1


def check(program, facts, request):
    """Everything that must hold of a program; raises AssertionError with what does not."""
    story = play(program, facts)
    disks = {name: disk.name for disk in facts.disks for name in disk.names}
    wanted = {disks[name] for name, wish in request.disks if type(wish).__name__ == "Internal"}
    check_order(story)
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
        assert all(pause < place for place in story.at("write") + story.at("snapshot"))
    for resume in story.at("resume"):
        assert all(place < resume for place in story.at("write") + story.at("snapshot"))


def check_parts(story, wanted):
    taken = sorted(disk for what, disk, _ in story.happened if what == "snapshot")
    assert taken == sorted(wanted), f"snapshotted {taken}, wanted {sorted(wanted)}"


def check_run_state(story, facts, request):
    after = request.run_state_after.value
    expected = facts.run_state if after == "as-before" else after
    assert story.running == (expected == "running"), f"the VM should end {expected}"
