"""The snapshot of what is there before a load, so that there is a way back.

It is a snapshot like any other: compiled from a request, proved, journaled, with a manifest.  It leaves
the guest stopped, so that nothing happens between it and the load.
"""

from __future__ import annotations

from attrs import evolve

from planner.compile.plan import Plan, compile_request
from planner.load.load_checks import LoadPlan
from planner.model.facts import Facts
from planner.model.outside import outside_of
from planner.model.request import (
    Exclude,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    Request,
    RunStateAfter,
)
from planner.model.request_text import ReadRequest
from planner.model.tag import tag_problems
from planner.parts.image_limits import holds_machine_state
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.run.ports import Backend, Host, Images, Reporter
from planner.run.progress import Meter
from planner.run.pump import HostClock, Pump
from planner.store.journaled import JournaledRun

__all__ = ["after_keeping", "keeping_plan", "keeping_pump", "keeping_request"]


def keeping_plan(tag: str, manifest: Manifest, facts: Facts) -> Plan:
    """A plan that saves all that a load of this snapshot would revert.

    Raises:
        Refused: It cannot be saved; nothing was sent.
    """
    return compile_request(keeping_request(tag, manifest, facts), facts)


def keeping_request(tag: str, manifest: Manifest, facts: Facts) -> ReadRequest:
    """What that plan is compiled from; it leaves the guest paused."""
    holder = manifest.vmstate
    reverted = ((part.disk, Internal()) for part in manifest.of(InternalSnapshot))
    # What is outside of the block layer the load leaves as it is, so the way back need not hold it.
    request = Request(
        tag=tag,
        machine_state=NoMachineState() if holder is None else _state(holder, manifest, facts),
        disks=(*reverted, *((outside.name, Exclude()) for outside in outside_of(facts))),
        others=Others.EXCLUDE,
        run_state_after=RunStateAfter.PAUSED,
    )
    return ReadRequest(request, tag_problems(tag))


def _state(holder: ManifestPart, manifest: Manifest, facts: Facts) -> InternalMachineState:
    """Where the machine state is kept: where it was; if it had an image of its own, in a disk's."""
    disks = {disk.name: disk for disk in facts.disks}
    reverted = [part.disk for part in manifest.of(InternalSnapshot)]
    able = (n for n in reverted if n in disks and not any(holds_machine_state(disks[n])))
    return InternalMachineState(holder.disk or next(able, next(iter(reverted), "")))


def keeping_pump(  # noqa: PLR0913 - each is a port of its own
    run: JournaledRun,
    backend: Backend,
    *,
    images: Images | None,
    host: Host | None,
    reporter: Reporter | None,
    meter: Meter | None = None,
) -> Pump:
    """Runs that plan, with its journal."""
    return Pump(
        run.machine,
        backend,
        images=images,
        host=host,
        clock=None if images is None else HostClock(),
        reporter=reporter,
        recorder=run.recorder(),
        meter=meter,
    )


def after_keeping(order: LoadPlan, tag: str) -> LoadPlan:
    """The load on the VM that the snapshot of what was there has stopped.

    Args:
        order: Decided before that; a part that has changed since is noticed when the load begins.
        tag: Of the snapshot of what was there.
    """
    return evolve(order, stopped=order.run_state_before == "running", way_back=tag)
