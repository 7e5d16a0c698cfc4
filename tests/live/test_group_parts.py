"""Groups whose members are saved in every way at once: streams, overlays, an image, a copy, inside."""

import pytest

from tests.live.runs import as_json, held, snapplan
from tests.support.topology import two_disks

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]  # its siblings: tests/unit, tests/crash

DISKS = ("disk0", "disk1")
WISHES = {
    "copied": "machine-state: {internal: disk0}\ndisks: {disk0: internal, disk1: {copy: {at}1}}\n",
    "image": "machine-state: {image: {at}s}\ndisks: {disk0: internal, disk1: {external: {at}1}}\n",
    "moving": "machine-state: {external: {at}s, capture: {capture}}\n"
    "disks: {disk0: {external: {at}0}, disk1: {external: {at}1}}\n",
    "stopped": "machine-state: {external: {at}s, capture: stopped}\n"
    "disks: {disk0: {external: {at}0}, disk1: internal}\n",
}


def group_file(folder, vms, capture):
    lines = []
    for name, vm in vms.items():
        text = WISHES[name].replace("{at}", f"{folder}/{name}-").replace("{capture}", capture)
        (folder / f"{name}.yaml").write_text(f"tag: a\n{text}")
        lines.append(f"  {name}: {{vm: {vm.qmp_path}, request: {name}.yaml}}\n")
    path = folder / "group.yaml"
    path.write_text(f"group: together\nmembers:\n{''.join(lines)}")
    return path


@pytest.mark.parametrize("capture", ["live", "background"])
def test_members_of_every_kind_are_one_group(qemu, tmp_path, capture):
    """Saved, verified, not loadable in place with a reason for each, deleted: all or nothing."""
    if capture == "background" and qemu.version() < (10, 0):
        capture = "stopped"
    vms = {name: qemu.start(two_disks()) for name in WISHES}
    store = ("--store", tmp_path / "store", "--json")
    file = group_file(tmp_path, vms, capture)
    saved = snapplan("group", "apply", file, *store)
    assert saved.returncode == 0, saved.stderr
    made = sorted(each.name for each in tmp_path.iterdir() if "-" in each.name)
    assert made == ["copied-1", "image-1", "image-s", "moving-0", "moving-1", "moving-s",
                    "stopped-0", "stopped-s"]  # fmt: skip
    verified = snapplan("group", "verify", "together", *store)
    assert (verified.returncode, as_json(verified)["verified"]["whole"]) == (0, True)
    loaded = snapplan("group", "load", "together", *store)
    assert loaded.returncode == 10
    problems = as_json(loaded)["error"]["problems"]
    assert {each["code"] for each in problems} == {"load-cannot"}
    assert {each["subject"].split(":")[0] for each in problems} == set(WISHES)
    undecided = snapplan("group", "delete", "together", "--yes", *store)
    assert (undecided.returncode, as_json(undecided)["error"]["code"]) == (10, "delete-refused")
    assert held(vms["copied"], DISKS)["disk0"] == ["a"], "it comes first, and is there still"
    gone = snapplan("group", "delete", "together", "--yes", "--overlays", "commit", *store)
    assert gone.returncode == 0, gone.stderr
    assert [each.name for each in tmp_path.iterdir() if "-" in each.name] == []
    for vm in vms.values():
        assert held(vm, DISKS) == {"disk0": [], "disk1": []}
        assert vm.status() == "running"
