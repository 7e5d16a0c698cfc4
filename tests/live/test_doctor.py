"""`doctor` on a real QEMU: what it finds is so, and it changes nothing."""

import pytest

from planner.host.processes import process_of
from planner.store.instance import Instance
from planner.store.process_locks import locked_names, names_of
from tests.live.faults import start
from tests.live.runs import as_json, snapplan
from tests.live.test_recover import apply_and_kill

pytestmark = pytest.mark.real_qemu


def examined(*words, store):
    done = snapplan("doctor", *words, "--store", store, "--json")
    plain = as_json(done)
    assert done.returncode == (30 if plain["wrong"] else 0), done.stderr
    found = {each["code"] for each in plain["findings"]} - {""}
    return plain, found


def test_settings_a_killed_run_and_a_lock_are_found(qemu, tmp_path):
    """Each as it stands, at the same VM; then nothing answers, and the run is still told."""
    vm = start(qemu)
    store = tmp_path / "store"
    changes = [{"capability": "xbzrle", "state": True}]
    vm.execute("migrate-set-capabilities", capabilities=changes)
    with locked_names(names_of(Instance((), process_of(vm.process.pid)))):
        plain, found = examined("--vm", vm.qmp_path, store=store)
    assert plain["wrong"] == 1
    assert found >= {"settings-on", "vm-locked"}
    assert not found & {"recovery-pending", "process-unproved", "image-elsewhere"}
    assert not store.exists(), "a look makes no store"
    assert {each["design"]: each["possible"] for each in plain["designs"]}["monolithic"]

    apply_and_kill(vm, "transactional", "cont", store, after=True)
    plain, found = examined("--vm", vm.qmp_path, store=store)
    assert plain["wrong"] == 1
    assert "recovery-pending" in found
    assert "vm-locked" not in found

    vm.end()
    plain, found = examined("--vm", vm.qmp_path, store=store)
    assert found >= {"nobody-listens", "recovery-pending"}
    assert plain["designs"] == []
