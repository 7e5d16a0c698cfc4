"""A tool's program that uses all that snapplan offers: `mypy --strict` has nothing to say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

import snapplan
from snapplan import (
    Attachment,
    Backend,
    BadInput,
    CannotConnect,
    Capture,
    Clone,
    Cloned,
    Collected,
    Copy,
    DesignReport,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    Facts,
    Forgotten,
    FreezeFilesystems,
    Group,
    GroupPlan,
    ImageMachineState,
    Inspection,
    Internal,
    InternalError,
    InternalMachineState,
    Interrupted,
    Joined,
    KnownRestore,
    ListedRestores,
    Manifest,
    ManifestPart,
    NoMachineState,
    Orphan,
    Others,
    Outcome,
    OutcomeUnknown,
    Overlays,
    Pending,
    Plan,
    Pool,
    Problem,
    Progress,
    ProgressKind,
    Promoted,
    Recovered,
    Refused,
    Request,
    Restored,
    RestorePlan,
    RunFailed,
    RunStateAfter,
    SnapplanError,
    Snapshot,
    Standing,
    Store,
    StoredSnapshots,
    Template,
    UndoIncomplete,
    Verdict,
    Violation,
    Vm,
    VmChanged,
)

ERRORS: tuple[type[SnapplanError], ...] = (
    *(BadInput, CannotConnect, InternalError, Interrupted, OutcomeUnknown, Refused, RunFailed),
    *(UndoIncomplete, Violation, VmChanged),
)


def tell(progress: Progress) -> None:
    """A callback of the tool's."""
    if progress.kind is ProgressKind.STEP:
        print(progress.text, progress.step, progress.steps, progress.seconds)
    print(progress.phase, progress.bytes_done, progress.bytes_total)


def wanted(folder: str) -> Request:
    """Requests of every kind."""
    state: NoMachineState | InternalMachineState | ExternalMachineState | ImageMachineState
    state = NoMachineState()
    state = InternalMachineState("disk0")
    state = ImageMachineState(f"{folder}/state.qcow2")
    state = ExternalMachineState(f"{folder}/state", Capture.LIVE, max_bandwidth=2**20)
    return Request(
        "nightly",
        state,
        (
            ("disk0", Internal()),
            ("vars0", External(f"{folder}/vars.qcow2")),
            ("cd0", Exclude()),
            ("disk1", Copy(f"{folder}/disk1.qcow2")),
        ),
        others=Others.EXCLUDE,
        existing_tag=ExistingTag.REPLACE,
        run_state_after=RunStateAfter.PAUSED,
        freeze=FreezeFilesystems(f"{folder}/agent.sock"),
        description="before the upgrade",
    )


def tree(snapshots: Iterable[Snapshot]) -> dict[str, str | None]:
    """What a manager's tree is made of."""
    for each in snapshots:
        said: tuple[str, bool, datetime | None] = (each.description, each.current, each.taken_at)
        parts: tuple[ManifestPart, ...] = each.parts
        record: Manifest | None = each.manifest
        whole = each.standing is Standing.COMPLETE and each.has_machine_state
        wrong: tuple[Problem, ...] = each.findings
        print(each.tag, said, len(parts), record is None, whole, wrong)
    return {each.tag: each.parent for each in snapshots}


async def use(vm: Vm) -> None:
    """Each method."""
    inspection: Inspection = await vm.inspect()
    facts: Facts = inspection.facts
    names = [
        each.disk.name for each in inspection.disks if each.why_not or each.holds_machine_state
    ]
    draft: Request = inspection.draft("draft")
    plan: Plan = await vm.plan(draft, design="auto")
    print(facts.run_state, inspection.run_state, names)
    snapshot: Snapshot = await vm.save(plan, on_progress=tell, deadline_s=60.0)
    snapshot = await vm.save("before", description="of the tool", pause_budget_ms=500.0)
    outcome: Outcome = await snapshot.load(
        run_state_after="running", keep_current="way-back", accept_changed=["cd0"], accept_cpu=True
    )
    verdict: Verdict = await snapshot.verify()
    ready: Snapshot = await snapshot.make_template("qemu {qmp}", folder="/t", on_progress=tell)
    template: Template | None = ready.template
    print(template and template.memory_bytes, (await ready.drop_template()).template)
    await snapshot.delete(overlays=Overlays.KEEP)
    print(outcome.run_state, verdict.findings, tree(await vm.snapshots()))
    reports: tuple[DesignReport, ...] = await vm.compare(wanted("/srv"), designs=["monolithic"])
    recovered: tuple[Recovered, ...] = await vm.recover(on_progress=tell)
    collected: Collected = await vm.collect(dry_run=True)
    orphans: tuple[Orphan, ...] = collected.orphans
    print(reports[0].commands, recovered, orphans, (await vm.snapshot("before")).parent)


async def main(address: str, store: Store, backend: Backend) -> None:
    """Every function."""
    attachment: Attachment = snapplan.attach(address, store=store)
    async with attachment as vm:
        await use(vm)
    async with snapplan.attach(backend, address="elsewhere") as vm:
        ready: RestorePlan = await snapplan.prepare_restore("before", store="/srv/store")
        print([(disk.part.disk, disk.file, disk.format) for disk in ready.disks], ready.arguments)
        state: str = await vm.restore(ready, run_state_after=RunStateAfter.PAUSED)
    restored: Restored = await snapplan.restore("before", ["qemu", "{qmp}"], qmp="/run/new.sock")
    print(restored.pid, restored.socket, restored.run_state, state)
    unfinished: tuple[Pending, ...] = snapplan.pending(store)
    known: tuple[StoredSnapshots, ...] = snapplan.stored(store)
    print([(each.current_tag, [each.parent_of(m) for m in each.manifests]) for each in known])
    print(await snapplan.recover(address, store=store), await snapplan.collect(store))
    snapplan.forget(unfinished, store=store)
    made: Manifest = await snapplan.make_template("before", ["qemu", "{qmp}"], store=store)
    print(made.template, await snapplan.drop_template("before", store=store))


async def cloning(snapshot: Snapshot) -> None:
    """VMs that start in milliseconds."""
    one: Clone = snapshot.clone()
    async with one as vm:
        print((await vm.inspect()).run_state)
        cloned: Cloned | None = one.cloned
        print(cloned and (cloned.pid, cloned.run_state, cloned.same))
        one.keep()
    several: Pool = snapshot.pool(spares=2)
    async with several as pool, pool.clone() as vm:
        joined: Joined = await vm.join_huge_pages()
        print(joined.before_bytes, joined.after_bytes, joined.note)
    async with snapplan.clone("before", "qemu {qmp}", paused=True) as vm:
        print(await vm.snapshots())
    async with snapplan.pool("before", spares=1, folder="/run/clones") as pool:
        print(pool)


async def keeping_order(store: Store) -> None:
    """What restores and deletions leave."""
    listed: ListedRestores = snapplan.list_restores(store)
    restores: tuple[KnownRestore, ...] = listed.found
    promoted: Promoted = snapplan.promote_restore("before.restored-1", store=store)
    dropped: KnownRestore = await snapplan.drop_restore("before.restored-2", on_progress=tell)
    gone: Forgotten = await snapplan.forget_snapshot("before", even_if_there=True)
    print(restores, listed.problems, promoted.start_with, dropped.there, gone.left)


async def together(db: Vm, web: Vm, request: Request) -> None:
    """A group."""
    vms = {"db": db, "web": web}
    planned: GroupPlan = await snapplan.plan_group(vms, "together", partial=True)
    print(snapplan.plan_text(planned))
    group: Group = await snapplan.save_group(
        vms, "together", requests={"web": request}, pause_budget_ms=500.0, on_progress=tell
    )
    outcomes = await group.load(run_state_after="running", on_progress=tell, deadline_s=60.0)
    print(group.name, group.standing, group.members, outcomes["db"].run_state)
    print((await group.verify()).whole, snapplan.find_group(vms, "together").standing)
    await group.delete()


def looked_at_first(address: str) -> None:
    """What would be done, and nothing of it is."""
    request: Request = snapplan.read_request({"tag": "a", "machine-state": "none", "disks": {}})
    with snapplan.sync.attach(address) as vm:
        pending: tuple[Pending, ...] = vm.pending()
        plan: Plan = vm.plan(request, partial=False)
        vm.check_save(plan, pause_budget_ms=500.0)
        snapshot = vm.snapshot("a")
        says: str = snapshot.check_load(keep_current="b") + snapshot.check_delete(overlays="keep")
        print(pending, says, snapplan.request_digest(snapplan.read_request("request.yaml")))


def blocking(address: str) -> None:
    """The twins."""
    with snapplan.sync.attach(address) as vm:
        inspection: Inspection = vm.inspect()
        snapshot: snapplan.sync.Snapshot = vm.save(inspection.draft("a"), on_progress=tell)
        outcome: Outcome = snapshot.load()
        parent: str | None = snapshot.parent
        print(outcome.pause_us, parent, snapshot.current, snapshot.verify(), vm.plan("b"))
        print(snapshot.make_template("qemu {qmp}").drop_template().template)
        snapshot.delete(overlays="keep")
        print(vm.snapshots(), vm.snapshot("a"), vm.compare("a"), vm.collect(), vm.recover())
        print(vm.restore(snapplan.sync.prepare_restore("a")))
    print(snapplan.sync.restore("a", "qemu -qmp unix:{qmp}"), snapplan.sync.collect(dry_run=True))
    print(snapplan.sync.make_template("a", "qemu {qmp}"), snapplan.sync.drop_template("a"))
    print(snapplan.sync.recover(address), snapplan.__version__)


def blocking_clones(snapshot: snapplan.sync.Snapshot) -> None:
    """Clones and what is left, with the twins."""
    with snapshot.clone() as vm:
        print(vm.join_huge_pages().note)
    with snapshot.pool(spares=1) as pool, pool.clone() as vm:
        print(vm.inspect().run_state)
    with snapplan.sync.clone("before") as vm, snapplan.sync.pool("before") as pool:
        print(vm.snapshots(), pool)
    print(snapplan.sync.drop_restore("a.restored-1"), snapplan.sync.forget_snapshot("a").left)


def blocking_together(first: str, second: str) -> None:
    """A group, with the twins."""
    with snapplan.sync.attach(first) as db, snapplan.sync.attach(second) as web:
        vms = {"db": db, "web": web}
        group: snapplan.sync.Group = snapplan.sync.save_group(vms, "together")
        print(group.load(), group.verify().whole, group.name, group.standing, group.members)
        snapplan.sync.find_group(vms, "together").delete()


if __name__ == "__main__":
    try:
        blocking("/run/vm/snapplan.sock")
        asyncio.run(asyncio.sleep(0))
    except ERRORS as error:
        print(error.code, error.exit_code, error.problems, error.vm_state)
