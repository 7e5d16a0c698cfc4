"""A guest is stopped by a load that finds nothing where QEMU would keep translated code (fact 76)."""

from attrs import evolve

from planner.load.load_checks import plan_load
from planner.load.load_run import LOAD_PLANS
from planner.model.hardware import Hardware
from tests.unit.build import held
from tests.unit.snapshots import images, manifest, snapshot_on, vm


def order_of(version="11.1", accelerator="tcg", run_state="running", others=()):
    """A load on such a VM, one of whose disks holds other snapshots as well."""
    before = vm(snapshot_on("disk0"), version=version)
    disk = before.disks[0]
    now = evolve(
        before,
        disks=(evolve(disk, snapshots=(*disk.snapshots, *others)),),
        run_state=run_state,
        hardware=Hardware(accelerator=accelerator),
    )
    return plan_load(manifest(before), now, images(now))


def test_which_qemu_needs_it():
    """Newer ones that translate code; not where a load has stopped the guest already."""
    assert order_of().stops_by == "snapplan-none-1"
    assert order_of(run_state="paused").stops_by
    assert not order_of(version="10.0").stops_by
    assert not order_of(accelerator="kvm").stops_by
    assert not order_of(run_state="restore-vm").stops_by


def test_the_tag_is_nobodys():
    """Neither a name nor an id of a snapshot that is there."""
    others = (held("snapplan-none-1", "8"), held("x", "snapplan-none-2"))
    assert order_of(others=others).stops_by == "snapplan-none-3"


def test_a_journal_keeps_it():
    """What is written is read again, and journals of before have none."""
    for order in (order_of(), order_of(version="10.0")):
        plain = LOAD_PLANS.to_plain(order)
        assert LOAD_PLANS.from_plain(plain, "journal") == order
    assert "stops-by" not in str(plain)
