"""Loads a snapshot on a running VM, without I/O: the machine of `snapplan load`.

    settings - node - stop - look again - snapshot-load - look - cont - node - settings

The guest is stopped first, by a command of its own: a failed load then leaves it `paused`, from which
everything is known to be right, and not in `restore-vm` (fact 18); what the preflight saw is looked at
once more while nothing can change it; and the guest runs again only when the load is known to be whole.
Where QEMU would go on with code of before the load (fact 76), a load that finds nothing stops the guest.

Before all that the migration settings are made known ones, and an error of an earlier migration is
forgotten: with either, QEMU would revert the disks and then fail (facts 64 and 65).

A load that failed part way is never continued: the guest would find disks of two instants (fact 20).
Where nothing was reverted yet, the VM is brought back to what it did before.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from planner.errors import InternalError
from planner.load.load_checks import LoadedImage, LoadedPart, LoadPlan
from planner.load.load_ending import EndingLoad, LoadOutcome
from planner.load.load_failure import UNTOUCHED, everything_perhaps, read_failure
from planner.load.stop_by_load import reset, stop_by_load
from planner.load.vmstate_node import add_node
from planner.model.facts import SnapshotInfo
from planner.model.image import bitmaps_of_nodes
from planner.model.replies import job_of, jobs_of, migration_of, snapshots_of
from planner.program.gates import Gate
from planner.program.resolution import Settings
from planner.run.actions import (
    Action,
    AtGate,
    ErrorReply,
    Flow,
    NotSent,
    Returned,
    Send,
    Tell,
)
from planner.run.conversation import Gone, Silent, StepFailed
from planner.run.jobs import await_job, await_last_word
from planner.run.migrating import forget_error, put_settings
from planner.run.observation import Baseline
from planner.run.outcome import Outcome, failure_of
from planner.run.phases import Phase
from planner.run.run_context import RunContext

__all__ = ["LOAD_TIMEOUT_S", "UNFINISHED", "LoadMachine", "LoadOutcome"]

LOAD_TIMEOUT_S = 3600.0
"""QEMU answers nothing while it loads (fact 2), and a machine state may be large."""

UNFINISHED = "group-load-unfinished"
"""Why a gate stays shut when other members of the group may be loaded already."""

_SNAPSHOT_JOBS = ("snapshot-save", "snapshot-load", "snapshot-delete")


def _context_of(order: LoadPlan) -> RunContext:
    baseline = Baseline(
        nodes={part.disk: part.node for part in order.parts},
        roots={},
        filenames={},
        ids={},
        run_state=order.run_state_before,
    )
    return RunContext(baseline, holds_pause=not order.stops)


@define
class LoadMachine(EndingLoad):
    """One load.

    Attributes:
        deadline_s: How long the job may take, in seconds.
        gated: Whether it is a member of a group, and waits for the others at its gates.
    """

    deadline_s: float = field(kw_only=True, default=LOAD_TIMEOUT_S)
    gated: bool = field(kw_only=True, default=False)

    @classmethod
    def of(
        cls, order: LoadPlan, deadline_s: float | None = None, *, gated: bool = False
    ) -> LoadMachine:
        """A load of this order."""
        deadline_s = deadline_s or LOAD_TIMEOUT_S
        return cls(_context_of(order), order=order, deadline_s=deadline_s, gated=gated)

    @property
    def begun(self) -> bool:
        """Whether QEMU may have been told to load."""
        return self._loaded or self._unknown or not self._reverted.nothing

    def again(self) -> Action | Outcome:
        """Ask anew what became of a load whose outcome was unknown; what to do next.

        Raises:
            InternalError: It did not end so.
        """
        if self.context.phase is not Phase.UNKNOWN:
            raise InternalError("there is nothing to ask again", code="illegal-transition")
        self.context.phase = Phase.STEPPING
        self.context.connected = False
        self._reverted = UNTOUCHED
        self._flow = self._ending(self._go_on())
        return next(self._flow)

    def _run(self) -> Flow[Outcome]:
        self.context.go(Phase.STEPPING)
        return (yield from self._ending(self._load()))

    def _ending(self, doing: Flow[str]) -> Flow[Outcome]:
        try:
            run_state = yield from doing
        except StepFailed as failed:
            return (yield from self._failed(failed.failure))
        except Gone:
            return self._gone(self._failure("vm-gone", "QEMU is gone"))
        except Silent as silent:
            return self._silent(self._failure("vm-silent", silent.why), silent)
        except Exception as error:  # noqa: BLE001 - a reply that nobody thought of, or a bug
            return (yield from self._failed(failure_of(error, self.context.where or "the start")))
        self.context.go(Phase.CONFIRMING)
        self.context.go(Phase.DONE)
        return self._outcome(run_state)

    def _load(self) -> Flow[str]:
        steps = list(self._steps())
        run_state = ""
        for number, name in enumerate(steps, start=1):
            yield Tell(name, number, len(steps))
            self.context.where = f"step {number} of {len(steps)} ({name})"
            if not self._loaded:
                self.context.check_wishes()
            if name == "settings":
                yield from self._settle_settings()
            elif name == "blockdev-add" and self.order.image is not None:
                yield from add_node(self.context, self.order.image)
            elif name == "snapshot-load":
                run_state = yield from self._load_job()
            elif name == "system_reset":
                if self.order.resets:  # a journal of before does not say so, and has not looked
                    yield from self._look_again()  # what is lost by a reset does not come back
                self._reset = True
                run_state = yield from reset(self.context)
            elif name == "stop" and self.order.stops_by:
                run_state = yield from stop_by_load(self.context, self.order)
            else:
                wanted = "running" if name == "cont" else "paused"
                run_state = yield from self.context.bring_to(name, wanted)
                self.context.holds_pause = name == "stop"
        yield from self._must_tidy_up()
        return run_state

    def _must_tidy_up(self) -> Flow[None]:
        yield from self._remove_node()
        why = yield from self._put_settings_back()
        if self._node_left:
            raise self.context.failed("command-refused", f"QEMU says: {self._node_left}")
        if why:
            raise self.context.failed("command-refused", f"QEMU says: {why}")

    def _settle_settings(self) -> Flow[None]:
        """Known settings, and no error of an earlier migration, while nothing is stopped yet."""
        settings = self.order.settings
        self.context.settings_changed = True
        why = yield from put_settings(self.context, settings.capabilities, settings.parameters)
        if why:
            raise self.context.failed("command-refused", f"QEMU says: {why}")
        if self.order.forgets_error:
            why, self._settings_left = yield from forget_error(self.context)
        if self._settings_left:
            raise self.context.failed("command-refused", f"QEMU says: {self._settings_left}")
        if why:
            words = (
                f"QEMU remembers that a migration failed, and does not forget it: {why} (fact 65)"
            )
            raise self.context.failed("migration-error", words)

    def _go_on(self) -> Flow[str]:
        """From where nobody knew: the job's end is asked for, or the guest is brought back."""
        if self._unknown and not self._loaded:
            yield from self._await_end()
            self._loaded = True
        if self._bound:
            yield from self._wait_for_all()
        if not self._loaded:
            raise self.context.failed("vm-silent", "the VM did not answer before it was loaded")
        if self.order.run_state_after == "running":
            run_state = yield from self.context.bring_to("cont", "running")
        else:
            run_state = yield from self.context.run_state()
        yield from self._must_tidy_up()
        return run_state

    def _steps(self) -> Iterator[str]:
        if self.order.settings != Settings() or self.order.forgets_error:
            yield "settings"
        if self.order.image is not None:
            yield "blockdev-add"
        if self.order.resets or self.order.run_state_before == "shutdown":
            yield "system_reset"
        if self.order.stops_by or self.order.stops:
            yield "stop"
        yield "snapshot-load"
        if self.order.run_state_after == "running":
            yield "cont"

    def _load_job(self) -> Flow[str]:
        yield from self._look_again()
        self._must_be_held()
        self.context.check_wishes()
        if self.gated:
            yield from self._wait_to_load()
        self.context.job_id = self.order.job_id
        arguments = {
            "job-id": self.order.job_id,
            "tag": self.order.tag,
            "vmstate": self.order.vmstate,
            "devices": list(self.order.devices),
        }
        self._unknown = True
        response = yield Send("snapshot-load", arguments, self.deadline_s, starts_deadline=True)
        if isinstance(response, ErrorReply):
            self._unknown = False  # nothing but a malformed command is refused at once (fact 1)
            self.context.must_be_done(response)
        self.context.note_lost(response)
        if isinstance(response, Returned) and not self.context.job_status:
            self.context.job_status = "created"  # its events may come later, or never
        yield from self._await_end()
        self._loaded = True
        if self.gated:
            yield from self._wait_for_all()
        run_state = yield from self.context.run_state()
        if run_state == "running" and self.order.run_state_after != "running":
            self._must_be_held()
        return run_state

    def _wait_to_load(self) -> Flow[None]:
        """Wait until every member stands and was looked at; from then on none goes on by itself."""
        response = yield AtGate(Gate.LOAD)
        begun = isinstance(response, NotSent) and response.error_class == UNFINISHED
        self._bound = begun or isinstance(response, Returned)
        self.context.must_be_done(response)
        self._must_be_held()

    def _wait_for_all(self) -> Flow[None]:
        """Wait until every member is loaded; a guest that runs already is of a group that is torn."""
        self._must_be_held()
        self.context.must_be_done((yield AtGate(Gate.LOADED)))
        self._bound = False

    def _must_be_held(self) -> None:
        if self.context.resumed_by_other:
            raise self.context.failed(
                "resumed-by-other", "another QMP client let the guest run inside the pause"
            )

    def _look_again(self) -> Flow[None]:
        """See once more what the preflight saw: now nothing but another client can change it."""
        if (yield from self.context.run_state()) == "running":
            raise self.context.failed("resumed-by-other", "another QMP client let the guest run")
        nodes = yield from self.context.ask("query-named-block-nodes", {"flat": True})
        held, bitmaps = snapshots_of(nodes), bitmaps_of_nodes(nodes)
        own = self.order.image
        if own is not None and not _holds_just(own, self.order.tag, held.get(own.node, ())):
            words = f"{own.file} does not hold what it held when it was checked"
            raise self.context.failed("vm-changed", words)
        for part in self.order.parts:
            if not _holds_just(part, self.order.tag, held.get(part.node, ())):
                words = f"the snapshots of {part.disk} have changed since they were checked"
                raise self.context.failed("vm-changed", words)
            if bitmaps.get(part.node):
                words = f"{part.disk} has a dirty bitmap since it was checked (fact 20)"
                raise self.context.failed("vm-changed", words)
        if (
            self.order.minds_errors
            and migration_of((yield from self.context.ask("query-migrate"))).error
        ):
            raise self.context.failed("vm-changed", "a migration has failed since (fact 65)")
        for job, _ in jobs_of((yield from self.context.ask("query-jobs"))):
            if job.type in _SNAPSHOT_JOBS and job.status not in ("concluded", "null"):
                raise self.context.failed("vm-changed", f"job {job.id!r} has begun since")

    def _await_end(self) -> Flow[None]:
        """Wait until the job has ended; raise where it failed.

        A new connection tells what became of a job whose reply was lost: it is there, or there never
        will be one (fact 51).
        """
        if self.context.connected:
            silent = yield from await_job(self.context, self.order.job_id, self.deadline_s)
            self.context.connected = silent is None or not silent.lost
        for _ in range(ROUNDS_OF_WAITING):
            reply = yield from self.context.ask("query-jobs")
            job, error = job_of(reply, self.order.job_id)
            if job is None:
                yield from self._never_was()
            elif job.status == "concluded":
                yield from self._dismiss()
                self._judge(error)
                return
            yield from await_last_word(self.context)
        raise Silent(f"job {self.order.job_id} has not ended")

    def _never_was(self) -> Flow[None]:
        """No job of ours is there: it never began, or somebody else dismissed it."""
        run_state = yield from self.context.run_state()
        seen = bool(self.context.job_status)
        # We stopped the guest, or found it stopped: a VM that runs is not what it was.
        if seen or run_state == "running":
            self._reverted = everything_perhaps(self.order)
            words = f"job {self.order.job_id} is gone, and what it did is unknown"
            raise self.context.failed("job-vanished", words)
        self._unknown = False
        raise self.context.failed(
            "connection-lost", "the connection ended before QEMU began to load"
        )

    def _judge(self, error: str) -> None:
        if error:
            self._reverted = read_failure(error, self.order)
            self._unknown = False
            raise self.context.failed("job-failed", f"QEMU says: {error}")

    def _dismiss(self) -> Flow[None]:
        # Best effort: a concluded job that stays is a nuisance, not a failed load.
        response = yield Send("job-dismiss", {"id": self.order.job_id})
        self.context.note_lost(response)
        self.context.job_id = ""


ROUNDS_OF_WAITING = 3


def _holds_just(part: LoadedPart | LoadedImage, tag: str, held: tuple[SnapshotInfo, ...]) -> bool:
    """Whether a node holds the part, and no other snapshot that QEMU could take for it."""
    named = [snapshot for snapshot in held if tag in (snapshot.name, snapshot.id)]
    return [(s.id, s.vm_clock_ns) for s in named] == [(part.snapshot_id, part.vm_clock_ns)]
