"""Request and facts into a resolution, or into all the refusals at once.

Resolving makes every choice explicit and gives its reason: which disk a name means, what happens to
the disks that are not named, what run state the VM is left in.  Nothing is chosen silently, and
nothing stops at the first problem: a user who fixes what is reported need not come back for more.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from attrs import field, frozen

from planner.compile.disk_names import DiskNames, named_twice
from planner.compile.freezing import freeze_choices, freeze_problems
from planner.compile.new_files import images_of, made_names, path_problems
from planner.compile.outside import OutsideDecision, leave_out
from planner.compile.refusals import (
    can_be_internal,
    cost_of_leaving_out,
    daemon_problems,
    disk_problems,
    libvirt_problems,
    vm_problems,
)
from planner.errors import BadInput, Problem, Refused, in_order
from planner.model.facts import Disk, Facts
from planner.model.request import (
    LEFT_OUT,
    Exclude,
    ExistingTag,
    ExternalMachineState,
    ImageMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    Pause,
    RunStateAfter,
    ServedBy,
    Unreadable,
    Wish,
)
from planner.model.request_text import ReadRequest
from planner.parts.image_limits import encryption_warnings, holds_machine_state
from planner.parts.kinds import making_of, planned_disks
from planner.parts.make_stream import stream_choices, stream_of, stream_problems
from planner.parts.make_vmstate_image import (
    vmstate_node_choices,
    vmstate_node_of,
    vmstate_node_problems,
)
from planner.parts.reach import ENCRYPTED, needs_vm, reach_problems, shared_problems
from planner.program.resolution import (
    Choice,
    Replaced,
    Resolution,
    Settings,
)
from planner.program.settings import left_on, settings_for

__all__ = ["resolve"]


def resolve(read: ReadRequest, facts: Facts) -> Resolution:
    """Decide everything that a request leaves open.

    Args:
        read: The request with what is wrong with the file itself.
        facts: The VM.

    Raises:
        BadInput: The file has problems; those against the facts are reported with them.
        Refused: The file is fine, and the VM cannot do it safely.
    """
    work = _Work(read, facts)
    work.name_disks()
    work.decide_others()
    work.check_disks()
    work.check_machine_state()
    work.problems.extend(daemon_problems(read.request, facts))
    work.problems.extend(libvirt_problems(read.request, facts))
    work.problems.extend(vm_problems(facts, machine_state=work.wants_machine_state))
    work.check_freezing()
    work.check_something_is_asked()
    _raise_problems(read.problems, work.problems)
    return work.resolution()


def _raise_problems(of_file: tuple[Problem, ...], of_vm: list[Problem]) -> None:
    problems = (*of_file, *in_order(of_vm))
    if not problems:
        return
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    if of_file:
        raise BadInput(f"the request has {count}", problems=problems, code="request-malformed")
    raise Refused(f"the request is refused: {count}", problems=problems, code="request-refused")


@frozen
class _Work:
    """What is known half way; every method adds to it."""

    read: ReadRequest
    facts: Facts
    wishes: dict[str, Wish] = field(factory=dict)
    named_as: dict[str, str] = field(factory=dict)
    choices: list[Choice] = field(factory=list)
    warnings: list[str] = field(factory=list)
    problems: list[Problem] = field(factory=list)
    left_out: OutsideDecision = field(init=False)
    disks: dict[str, Disk] = field(init=False)
    names: DiskNames = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "disks", {disk.name: disk for disk in self.facts.disks})
        object.__setattr__(self, "names", DiskNames(self.facts))
        object.__setattr__(self, "left_out", leave_out(self.read.request, self.facts))
        self.choices.extend(self.left_out.choices)
        self.warnings.extend(self.left_out.warnings)
        self.problems.extend(self.left_out.problems)

    @property
    def wants_machine_state(self) -> bool:
        return not isinstance(self.read.request.machine_state, NoMachineState)

    @cached_property
    def _images(self) -> dict[str, list[str]]:
        return images_of(self.facts)

    def name_disks(self) -> None:
        """Find what each name of the request means."""
        for name, wish in self.read.request.disks:
            if name in self.left_out.named:
                continue
            disk = self.names.find(name)
            if isinstance(disk, Problem):
                self.problems.append(disk)
                continue
            if disk.name in self.wishes:
                self.problems.append(named_twice(disk, self.named_as[disk.name], name))
                continue
            self.wishes[disk.name] = wish
            self.named_as[disk.name] = name
            self.choices.append(_asked_for(disk, wish))

    def decide_others(self) -> None:
        """Decide about the disks that the request does not name."""
        others = self.read.request.others
        for disk in self.facts.disks:
            if disk.name in self.wishes:
                continue
            if disk.read_only or not disk.attached:
                reason = "read-only" if disk.read_only else "no device of the guest uses it"
                self._default(disk, Exclude(), reason)
            elif others is Others.EXCLUDE:
                self._default(disk, Exclude(), "not named, and `others: exclude`")
            elif others is Others.INTERNAL:
                self._default(disk, Internal(), "not named, and `others: internal`")
            else:
                self.problems.append(_not_mentioned(disk))

    def _default(self, disk: Disk, wish: Wish, reason: str) -> None:
        self.wishes[disk.name] = wish
        value = "internal" if isinstance(wish, Internal) else "exclude"
        self.choices.append(Choice(disk.name, value, reason, default=True))

    def check_disks(self) -> None:
        """Report every disk that cannot be what it is to be."""
        request = self.read.request
        paths: dict[str, str] = {}
        for name, wish in self.wishes.items():
            disk = self.disks[name]
            making = making_of(wish)
            if making is not None:
                self.problems.extend(disk_problems(disk))
                self.problems.extend(reach_problems(disk))
                told = [each for each in needs_vm(disk) if each.code != ENCRYPTED]
                self.warnings.extend(str(problem) for problem in told)
                self.problems.extend(making.refusals(disk, wish, request))
                self.warnings.extend(making.warnings(disk, self.facts))
                path = making.new_file(wish)
                if path is not None:
                    self._check_path(paths, path, name)
            if isinstance(wish, LEFT_OUT) and disk.holding(request.tag):
                self.warnings.append(
                    f"{name} is left out, yet holds an older snapshot of this tag: a load of that "
                    "tag over all disks would take it (fact 19)"
                )
        parts = {name for name, wish in self.wishes.items() if making_of(wish) is not None}
        self.problems.extend(shared_problems(parts, self.facts.disks))
        excluded = [self.disks[n] for n, wish in self.wishes.items() if isinstance(wish, Exclude)]
        self.warnings.extend(cost_of_leaving_out(excluded))
        state = request.machine_state
        if isinstance(state, ExternalMachineState | ImageMachineState):
            self._check_path(paths, state.path, "machine-state")
        taken = [self.disks[n] for n, w in self.wishes.items() if not isinstance(w, LEFT_OUT)]
        self.warnings.extend(
            encryption_warnings(
                taken,
                in_vm=isinstance(state, InternalMachineState | ImageMachineState),
                machine_state=self.wants_machine_state,
            )
        )

    def _check_path(self, paths: dict[str, str], path: str, user: str) -> None:
        self.problems.extend(path_problems(user, path, self._images))
        names = made_names(path)
        for other in sorted({paths[name] for name in names if name in paths}):
            words = f"{path} is also meant for {other}, or for its temporary file"
            self.problems.append(Problem("path-used-twice", user, words, "change one"))
        paths.update(dict.fromkeys(names, user))

    def check_machine_state(self) -> None:
        """Report a vmstate disk that is not among the internal ones (fact 5)."""
        state = self.read.request.machine_state
        if isinstance(state, ExternalMachineState):
            after = self._run_state_after()
            self.problems.extend(stream_problems(state, self.facts, after))
        if isinstance(state, ImageMachineState):
            self.problems.extend(vmstate_node_problems(self.facts))
        if not isinstance(state, InternalMachineState):
            return
        disk = self.names.find(state.disk, "vmstate-disk-unknown")
        if isinstance(disk, Problem):
            self.problems.append(disk)
            return
        self.problems.extend(holds_machine_state(disk, self.facts.disks))
        wish = self.wishes.get(disk.name)
        if wish is not None and not isinstance(wish, Internal | Unreadable):
            self.problems.append(
                Problem(
                    "vmstate-not-internal",
                    disk.name,
                    "it is to hold the machine state, and is not among the internal disks (fact 5)",
                    f"write `{state.disk}: internal` under `disks`",
                )
            )

    def _run_state_after(self) -> RunStateAfter:
        after = self.read.request.run_state_after
        if after is not RunStateAfter.AS_BEFORE:
            return after
        paused = self.facts.run_state == "paused"
        return RunStateAfter.PAUSED if paused else RunStateAfter.RUNNING

    def check_freezing(self) -> None:
        """Report file systems that are to be frozen and cannot be."""
        after = self._run_state_after()
        self.problems.extend(freeze_problems(self.read.request, self.facts, after))

    def check_something_is_asked(self) -> None:
        """Report a request for nothing."""
        parts = any(not isinstance(wish, LEFT_OUT) for wish in self.wishes.values())
        if not parts and not self.wants_machine_state and not self.problems:
            self.problems.append(
                Problem("nothing-to-snapshot", "disks", "no disk and no machine state is asked for")
            )

    def resolution(self) -> Resolution:
        """Put it together; only without problems."""
        request = self.read.request
        state = request.machine_state
        vmstate = (
            self.names.table[state.disk][0].name if isinstance(state, InternalMachineState) else ""
        )
        before = RunStateAfter(self.facts.run_state)
        stream = stream_of(state, self.facts) if isinstance(state, ExternalMachineState) else None
        own = vmstate_node_of(request.tag, state) if isinstance(state, ImageMachineState) else None
        settings = settings_for(self.facts) if vmstate or own is not None else Settings()
        self.warnings.extend(left_on(settings if stream is None else stream.settings))
        self._explain_defaults(before)
        if stream is not None:
            self.choices.extend(stream_choices(stream, self.facts))
        if own is not None:
            self.choices.extend(vmstate_node_choices(own))
        self.choices.extend(freeze_choices(request))
        return Resolution(
            tag=request.tag,
            vmstate=vmstate,
            stream=stream,
            **planned_disks(request.tag, self.wishes, self.disks, self.facts),
            excluded=tuple(sorted(n for n, w in self.wishes.items() if isinstance(w, LEFT_OUT))),
            replaced=tuple(self._replaced()),
            run_state_before=before,
            run_state_after=self._run_state_after(),
            choices=tuple(sorted(self.choices, key=lambda choice: choice.subject)),
            warnings=tuple(sorted(self.warnings)),
            freeze=request.freeze,
            outside=self.left_out.devices,
            settings=settings,
            vmstate_node=own,
            stands=request.pause is Pause.ALWAYS,
        )

    def _explain_defaults(self, before: RunStateAfter) -> None:
        request = self.read.request
        self.choices.append(
            Choice(
                "run-state-after",
                str(request.run_state_after),
                "a storage daemon serves on" if self.facts.is_daemon else f"the VM is {before}",
                default="run-state-after" not in request.given,
            )
        )
        for key, value in (("others", request.others), ("existing-tag", request.existing_tag)):
            if key not in request.given:
                self.choices.append(
                    Choice(key, str(value), "not said in the request", default=True)
                )

    def _replaced(self) -> Iterator[Replaced]:
        if self.read.request.existing_tag is not ExistingTag.REPLACE:
            return
        for name in sorted(self.wishes):
            if isinstance(self.wishes[name], Internal):
                disk = self.disks[name]
                for old in disk.holding(self.read.request.tag):
                    yield Replaced(name, disk.root, old.id)


def _asked_for(disk: Disk, wish: Wish) -> Choice:
    making = making_of(wish)
    if making is not None:
        return Choice(disk.name, making.asked_for(wish), "asked for")
    if isinstance(wish, ServedBy):
        return Choice(disk.name, f"in member {wish.member!r}", "asked for")
    why_not = next(can_be_internal(disk), None)
    reason = (
        "asked for" if why_not is None else f"asked for; internal is impossible: {why_not.message}"
    )
    return Choice(disk.name, "exclude", reason)


def _not_mentioned(disk: Disk) -> Problem:
    why_not = next(can_be_internal(disk), None)
    can = "internal or exclude" if why_not is None else "exclude"
    return Problem(
        "disk-not-mentioned",
        disk.name,
        "the guest can write to it, and the request does not say what becomes of it",
        f"name it ({can}), or set `others`",
    )
