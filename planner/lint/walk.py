"""Tries a sequence, command by command, and collects what the rules find.

Between two commands the guest works wherever it can run, a migration of a running guest goes on to
its end, and a background one of a stopped guest does not begin until somebody asks for it: each time
what does the most harm, since QEMU promises nothing better.  What a recording shows is believed: a
command that was refused there does nothing here, and one that was answered is not called refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from planner.lint.agent import Freezes, is_agents
from planner.lint.captures import CapturedPart, captures_between, instants
from planner.lint.moment import FIRST, Memory, Moment, Rule, bind, words_in
from planner.lint.plugging import RULES as PLUG_RULES
from planner.lint.plugging import WITHOUT_EFFECT, device_event, run_failing, saves, tag_loaded
from planner.lint.program import Command, Finding, LintReport, Listing, Said
from planner.lint.rules_code import RULES as CODE_RULES
from planner.lint.rules_code import code_notes
from planner.lint.rules_copies import RULES as COPY_RULES
from planner.lint.rules_copies import copies_begun
from planner.lint.rules_disks import RULES as DISK_RULES
from planner.lint.rules_disks import left_out_of_a_stream
from planner.lint.rules_instructions import RULES as INSTRUCTION_RULES
from planner.lint.rules_jobs import RULES as JOB_RULES
from planner.lint.rules_jobs import at_the_end, note_event
from planner.lint.rules_schema import schema_findings
from planner.lint.rules_tags import RULES as TAG_RULES
from planner.lint.rules_templates import RULES as TEMPLATE_RULES
from planner.lint.vm import TrialVm, hmp_snapshot, set_the_stage
from planner.model.facts import Facts
from planner.semantics import (
    NOT_MODELLED,
    CommandResult,
    VmState,
    advance_background,
    all_disks,
    execute,
    guest_step,
    run_background,
    snapshot_node,
)

__all__ = ["RULES", "lint"]

RULES: tuple[Rule, ...] = (
    *DISK_RULES, *TAG_RULES, *INSTRUCTION_RULES, *JOB_RULES, *TEMPLATE_RULES, *CODE_RULES,
    *PLUG_RULES, *COPY_RULES,
)  # fmt: skip
_AFTER_A_JOB = frozenset({"blockdev-del", "job-dismiss"})
_OF_A_READY_JOB = frozenset({"block-job-complete", "job-complete"})


def lint(listing: Listing, facts: Facts | None = None) -> LintReport:
    """Find what is wrong with a sequence of QMP commands.

    Args:
        listing: The sequence.
        facts: The VM that it is for; None: what the sequence tells of it, in its favour.
    """
    walk = _SequenceWalk(listing, set_the_stage(listing, facts))
    walk.go()
    findings = tuple(sorted(set(walk.findings)))
    unchecked = (*walk.stage.unchecked, *walk.unchecked, *listing.passed_over)
    return LintReport(listing.source, listing.kind, len(listing.commands), findings, unchecked)


@define
class _SequenceWalk:
    """How far the sequence has come."""

    listing: Listing
    stage: TrialVm
    state: VmState = field(init=False)
    memory: Memory = field(factory=Memory)
    findings: list[Finding] = field(factory=list)
    unchecked: dict[str, None] = field(factory=dict)
    captures: list[CapturedPart] = field(factory=list)
    pause: int = 0
    migration: tuple[Command, int] | None = None
    freezes: Freezes = field(factory=Freezes)

    def __attrs_post_init__(self) -> None:
        self.state = self.stage.state

    def go(self) -> None:
        for entry in self.listing.entries:
            if self.state.died:
                break
            if isinstance(entry, Said):
                note_event(self._moment(Command(entry.line, "")), entry)
                device_event(self._moment(Command(entry.line, "")), entry)
            else:
                self._command(entry)
        if not self.state.died:
            self._world_goes_on(Command(0, "", {}), at_end=True)
            self._check_run_state()
            self.findings.extend(self.freezes.at_the_end(self.captures))
            self.findings.extend(at_the_end(self.memory))  # what comes after an abort is not read
        if not self.captures:  # nothing is taken in the pause, so there is none to be kept short
            self.findings = [each for each in self.findings if each.rule != "overlay-ready"]
        for finding in instants(self.captures):
            self._unless_unknown(finding)
        self.findings.extend(left_out_of_a_stream(self.listing, self.stage, self.captures))

    def _unless_unknown(self, finding: Finding) -> None:
        """Whether the guest ran between is not known where a command before may have stopped it."""
        since = self.memory.unknown_since
        if 0 < since < finding.line:
            text = f"line {finding.line}: of which instant it is: it depends on line {since}"
            self.unchecked[text] = None
        else:
            self.findings.append(finding)

    def _moment(self, command: Command) -> Moment:
        arguments = bind(command.arguments, self.stage.aliases)
        return Moment(command, arguments, self.state, self.stage, self.listing, self.memory)

    def _command(self, command: Command) -> None:
        if command.malformed:
            self.findings.append(_malformed(command))
            return
        self._world_goes_on(command)
        at = self._moment(command)
        if is_agents(command.execute):
            self.findings.extend(self.freezes.take(at))
            text = f"line {command.line}: what the guest agent makes of {command.execute}"
            self.unchecked[text] = None
            return
        if command.foreign:
            self._not_modelled(at, anything=True)
            return
        found = list(schema_findings(at, self.unchecked))
        fits = not found
        if any(finding.rule == "command-lacking" for finding in found):
            self._another_qemu(at)
        self.unchecked.update(dict.fromkeys(code_notes(at)))
        for rule in RULES:
            found.extend(rule(at))
        if not command.refused and fits:
            found.extend(self._do(at, told=bool(found)))
        self.findings.extend(found)

    # --- what a command does ------------------------------------------------------------------

    def _do(self, at: Moment, *, told: bool) -> list[Finding]:
        if at.execute == "qmp_capabilities":
            enabled = at.arguments.get("enable")
            self.memory.out_of_band = isinstance(enabled, list) and "oob" in enabled
            return []  # every session begins with it
        if at.command.out_of_band and not self.memory.out_of_band:
            return self._out_of_band(at)
        missing = bool(self.memory.devices.missing(tag_loaded(at)))
        run = run_failing if missing else execute
        result = run(self.state, at.execute, at.arguments)
        if result.error is None or NOT_MODELLED in result.error.desc:
            self.captures.extend(copies_begun(at, self.pause))
        if result.error is not None and NOT_MODELLED in result.error.desc:
            if not at.execute.startswith("query-"):
                self._not_modelled(at)
            return []
        self._move_to(result.state, at.command)
        if at.execute == "blockdev-create":
            self._block_jobs_end("create-image")
        self._note(at)
        return self._judge(at, result, told=told, missing=missing)

    def _out_of_band(self, at: Moment) -> list[Finding]:
        """QEMU takes `exec-oob` where `qmp_capabilities` has enabled it (measured on 7.2 and 11.1)."""
        if self.memory.out_of_band is None:
            line = at.command.line
            self.unchecked[f"line {line}: whether qmp_capabilities has enabled exec-oob"] = None
            return []
        remedy = 'qmp_capabilities with "enable": ["oob"], or write "execute"'
        text = "QEMU says: QMP input member 'exec-oob' is unexpected"
        return [at.finding("command-refused", text, remedy)]

    def _not_modelled(self, at: Moment, *, anything: bool = False) -> None:
        """What it names is not known from here on."""
        line = at.command.line
        if at.execute not in WITHOUT_EFFECT:
            self.unchecked[f"line {line}: what {at.execute} does here"] = None
        for word in words_in(at.command.arguments):
            self.memory.unmodelled.setdefault(word, line)
        if anything:
            self.memory.unknown_since = self.memory.unknown_since or line

    def _another_qemu(self, at: Moment) -> None:
        """A command that another QEMU has may have done anything, if this is one: a stop, too."""
        self.memory.unknown_since = self.memory.unknown_since or at.command.line

    def _depends(self, at: Moment) -> bool:
        """Whether what QEMU says of a command depends on one whose effect is not known; it is noted."""
        line = at.unknown_because(*words_in(at.command.arguments))
        if line:
            text = (
                f"line {at.command.line}: what QEMU says to {at.execute}: it depends on line {line}"
            )
            self.unchecked[text] = None
        return bool(line)

    def _move_to(self, state: VmState, command: Command) -> None:
        self.captures.extend(captures_between(self.state, state, command, self.pause))
        if state.running != self.state.running:
            self.pause += 1
            self.memory.stops = 0 if state.running else command.line
        self.state = state

    def _note(self, at: Moment) -> None:
        if at.execute == "migrate" and self.state.migration.under_way:
            self.migration = (at.command, self.pause)
            if self.state.migration.background and not self.state.running:
                self.memory.pending_background = at.command.line

    def _judge(
        self, at: Moment, result: CommandResult, *, told: bool, missing: bool
    ) -> list[Finding]:
        died = result.state.died
        if died and died != "quit":
            inactive = at.execute == "blockdev-snapshot-delete-internal-sync"
            rule = "active-before-undo" if inactive else "qemu-aborts"
            fact = " on a node that is inactive after a migration (fact 35)" if inactive else ""
            remedy = "cont first, or from 10.0 blockdev-set-active" if inactive else ""
            return [at.finding(rule, f"QEMU aborts here{fact}: {died}", remedy)]
        if result.error is not None:
            of_ours = at.execute == "job-dismiss" and at.text("id") in self.memory.jobs
            if told or of_ours or at.command.answered or at.memory.pending_background:
                return []
            if self._depends(at):
                return []
            return [at.finding("command-refused", f"QEMU says: {result.error.desc}")]
        if at.execute == "human-monitor-command":
            return self._judge_human(at, str(result.reply or "").strip(), told=missing)
        return self._judge_job(at, told=told)

    def _judge_human(self, at: Moment, said: str, *, told: bool) -> list[Finding]:
        """What the human monitor answers: an error is a text."""
        command = hmp_snapshot(at.command)
        if command is not None and command[0] == "loadvm":
            self._note_load(at, failed=bool(said))
        if not said and saves(at):
            self.memory.devices.save(saves(at))
        if told or at.command.answered or not said or at.text("command-line").startswith("info"):
            return []
        return [] if self._depends(at) else [at.finding("command-refused", f"QEMU says: {said}")]

    def _note_load(self, at: Moment, *, failed: bool) -> None:
        self.memory.torn = _torn(at, self.state) if failed else ""
        self.memory.failed_load = at.command.line if self.memory.torn else 0

    def _judge_job(self, at: Moment, *, told: bool) -> list[Finding]:
        has_job = at.execute.startswith("snapshot-") or at.execute == "blockdev-create"
        job = self.state.job(at.text("job-id")) if has_job else None
        if job is None or not job.error:
            if at.execute == "snapshot-load":
                self._note_load(at, failed=False)  # what was torn is whole again
            if saves(at):
                self.memory.devices.save(saves(at))
            return []
        if at.execute == "snapshot-load":
            self._note_load(at, failed=True)
        if told or self._depends(at):
            return []
        return [at.finding("job-failed", f"the job will fail; QEMU says: {job.error}")]

    # --- what happens besides -----------------------------------------------------------------

    def _world_goes_on(self, command: Command, *, at_end: bool = False) -> None:
        self.state = guest_step(self.state)
        if command.execute in _AFTER_A_JOB:
            self._block_jobs_end()
        elif command.execute in _OF_A_READY_JOB:
            self._block_job_is_ready(command)
        if self._migration_moves(command) or at_end:
            source, pause = self.migration or (command, self.pause)
            before, ran = self.pause, self.state.running
            self.pause = pause
            self._move_to(run_background(self.state).state, source)
            self.pause = max(self.pause, before)
            if ran and not self.state.running:
                self._stopped_by_its_end(source)
            self.memory.pending_background = 0
        self.state = guest_step(self.state)

    def _block_jobs_end(self, op: str = "") -> None:
        """A list of commands has no waits in it: who takes a job's nodes away has waited for the job."""
        while self.state.block_work and op in ("", self.state.block_work[-1].op):
            self.state = advance_background(self.state).state

    def _block_job_is_ready(self, command: Command) -> None:
        """Who completes a job has waited until it was ready, likewise."""
        name = str(command.arguments.get("device", command.arguments.get("id", "")))
        while (job := self.state.job(name)) is not None and job.status == "running":
            if not self.state.block_work:
                break
            self.state = advance_background(self.state).state

    def _stopped_by_its_end(self, migrate: Command) -> None:
        """A live migration stops the guest at its end: what that pause captures is of its instant."""
        self.captures = [
            evolve(part, until=self.pause) if part.command is migrate and part.is_stream else part
            for part in self.captures
        ]

    def _migration_moves(self, command: Command) -> bool:
        if not self.state.background:
            return False
        if not self.memory.pending_background:
            return True
        if self.state.running:
            return True  # resumed too early: the guest has worked, and QEMU stops it again
        return command.execute == "query-migrate" and _shows_tracking(command)

    def _check_run_state(self) -> None:
        began, ends = self.stage.state.running, self.state.running
        wanted = began if self.listing.kind == "lines" else not self.listing.ends_paused
        if wanted and not ends and self.memory.stops:
            commands = [c for c in self.listing.commands if c.line == self.memory.stops]
            name = commands[0].execute if commands else ""
            text = f"the guest ran, and is left in {self.state.run_state} by this"
            remedy = "end with cont"
            if self.memory.failed_load:
                remedy = f"load a whole snapshot, then cont: {self.memory.torn}"
            self.findings.append(
                Finding(self.memory.stops, "run-state-restored", name, text, remedy)
            )


def _torn(at: Moment, after: VmState) -> str:
    """What a load that failed left in parts, in a clause; empty: nothing was changed."""
    names: dict[bool, list[str]] = {True: [], False: []}
    named = [(target.name, target.node) for target in at.targets()]
    for name, node in named or [(node.name, node) for node in all_disks(at.state)]:
        image = snapshot_node(at.state.graph, node) if node else None
        if image is not None:
            now = after.graph.node(image.name).layer
            names[now.content != image.layer.content].append(name)
    reverted, others = (", ".join(names[key][:FIRST]) for key in (True, False))
    if after.machine_version != at.state.machine_version:
        return "the machine was reset and its state is not read"
    if not reverted:
        return ""
    return f"{reverted} went back and {others} did not" if others else f"{reverted} went back alone"


def _malformed(command: Command) -> Finding:
    remedy = ""
    if "'data'" in command.malformed:
        remedy = 'write "arguments"; "data" is for the actions of a transaction'
    text = f"QEMU says: {command.malformed}"
    return Finding(command.line, "command-refused", command.execute, text, remedy)


def _shows_tracking(command: Command) -> bool:
    """Whether a poll can have seen write tracking: a recording may show that it did not."""
    if not command.answered or not isinstance(command.reply, Mapping):
        return True
    ram = command.reply.get("ram")
    if not isinstance(ram, Mapping):
        return False
    return any(bool(ram.get(key)) for key in ("normal", "duplicate"))
