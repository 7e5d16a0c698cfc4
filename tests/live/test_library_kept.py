"""The library on a store: what is gone, restores; and a tag that would not mean everything."""

import pytest
import snapplan

from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks

pytestmark = pytest.mark.real_qemu


def test_the_record_of_what_is_gone_is_forgotten(qemu, tmp_path):
    """While a part is there it is not, unless somebody says so; the record stays then."""
    vm = qemu.start(two_disks())
    with snapplan.sync.attach(vm.qmp_path, store=tmp_path) as attached:
        attached.save("a")
        attached.save("b")
    vm.end()
    with pytest.raises(snapplan.Refused) as refused:
        snapplan.sync.forget_snapshot("a", store=tmp_path)
    assert refused.value.code == "part-there"
    forgotten = snapplan.sync.forget_snapshot("a", even_if_there=True, store=tmp_path)
    assert {problem.code for problem in forgotten.left} == {"part-there"}
    for disk in ("disk0", "disk1"):
        vm.image(disk).unlink()
    assert snapplan.sync.forget_snapshot("b", store=tmp_path).left == ()
    assert [each for each in snapplan.stored(tmp_path) if each.manifests] == []


def test_restores_are_listed_promoted_and_dropped(qemu, tmp_path):
    """As `snapplan restore` does it: what was the disk is set aside, and removed."""
    vm = qemu.start(two_disks())
    with snapplan.sync.attach(vm.qmp_path, store=tmp_path) as attached:
        overlays = {disk: vm.directory / f"{disk}.a.qcow2" for disk in ("disk0", "disk1")}
        wishes = tuple((disk, snapplan.External(str(path))) for disk, path in overlays.items())
        attached.save(snapplan.Request("a", snapplan.NoMachineState(), wishes))
    vm.end()
    plan = snapplan.sync.prepare_restore("a", store=tmp_path)
    (known,) = snapplan.list_restores(tmp_path).found
    assert set(known.there) == {disk.file for disk in plan.disks}
    promoted = snapplan.sync.promote_restore(known.restore.name, store=tmp_path)
    assert {each.file for each in promoted.start_with} == {disk.file for disk in plan.disks}
    aside = snapplan.sync.drop_restore(promoted.known.restore.name, store=tmp_path)
    assert set(aside.there) == {str(path) for path in overlays.values()}
    assert not any(path.exists() for path in overlays.values())
    assert snapplan.sync.list_restores(tmp_path) == snapplan.ListedRestores((), ())


@pytest.mark.qemu_versions(before=(11, 0))  # later ones save an NVMe device's state
def test_a_tag_that_cannot_mean_everything_is_refused(qemu, tmp_path):
    """Beside an NVMe device no machine state can be saved: nothing is made, and the way is named."""
    disks = (DiskSpec("disk0"), DiskSpec("disk1", DiskKind.UNATTACHED))
    nvme = ("-device", "nvme,drive=disk1,serial=n0,id=disk1-device")
    vm = qemu.start(Topology(disks, extra_args=nvme))
    with snapplan.sync.attach(vm.qmp_path, store=tmp_path) as attached:
        with pytest.raises(snapplan.Refused) as refused:
            attached.save("a")
        assert refused.value.code == "partial"
        (problem,) = refused.value.problems
        assert problem.subject == "machine state"
        assert "machine-state: none" in problem.remedy
        assert attached.snapshots() == ()
        snapshot = attached.save("a", partial=True)
        assert not snapshot.has_machine_state
        assert len(snapshot.parts) == 2
