"""Migration settings that somebody left on: no save and no load is spoilt by them (facts 64 and 65)."""

import contextlib
import dataclasses

import pytest
import yaml

from planner.run.phases import Phase
from tests.live.external import external_request, run_struck, start_mixed
from tests.live.faults import assert_guest_unharmed, start
from tests.live.runs import snapplan
from tests.support.qmp import QmpError
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

SINCE_10 = pytest.mark.qemu_versions(since=(10, 0))
BOTH = ("disk0", "disk1")
MARK_AT = 32 << 20
LEFT_ON = (
    {"block": True},
    {"compress": True},
    {"mapped-ram": True},
    {"multifd": True},
    {"postcopy-ram": True, "release-ram": True, "xbzrle": True},
    {"background-snapshot": True},
    {"x-ignore-shared": True, "events": True},
)


def settings_of(vm):
    """What the VM's migration settings are, asked by the test's own client."""
    on = {c["capability"] for c in vm.execute("query-migrate-capabilities") if c["state"]}
    return on, vm.execute("query-migrate-parameters")


def put(vm, capabilities):
    changes = [{"capability": name, "state": on} for name, on in capabilities.items()]
    vm.execute("migrate-set-capabilities", capabilities=changes)


def known(vm, settings):
    """Those capabilities that this QEMU has."""
    names = {c["capability"] for c in vm.execute("query-migrate-capabilities")}
    return {name: on for name, on in settings.items() if name in names}


def apply(vm, store, tag, design="auto"):
    text = {"tag": tag, "machine-state": {"internal": "disk0"}}
    text["disks"] = dict.fromkeys(BOTH, "internal")
    request = vm.directory / f"{tag}.yaml"
    request.write_text(yaml.safe_dump(text))
    return snapplan("apply", request, "--vm", vm.qmp_path, "--store", store, "--design", design)


def load(vm, store, tag, *more):
    return snapplan("load", tag, "--vm", vm.qmp_path, "--store", store, "--yes", *more)


def assert_saves_and_loads(vm, store, tag, design):
    """Saved and loaded with what is left on; afterwards that is as it was, and the guest is sound."""
    found = settings_of(vm)
    done = apply(vm, store, tag, design)
    assert done.returncode == 0, done.stderr
    assert settings_of(vm) == found
    vm.wait_guest(1, since=len(vm.console()))
    done = load(vm, store, tag)
    assert done.returncode == 0, done.stderr
    assert settings_of(vm) == found
    vm.wait_guest(2, since=len(vm.console()))


def assert_all_spoil_nothing(vm, store, each):
    for number, settings in enumerate(each):
        wanted = known(vm, settings)
        if wanted:
            put(vm, wanted)
            design = ("monolithic", "transactional")[number % 2]
            assert_saves_and_loads(vm, store, f"c{number}", design)
            put(vm, dict.fromkeys(wanted, False))
    assert_guest_unharmed(vm)


def test_multifd_left_on_spoils_no_save_and_no_load(qemu, tmp_path):
    """With it QEMU 7.2 and 10.0 crash, and 11.1 refuses both (fact 64)."""
    assert_all_spoil_nothing(start(qemu), tmp_path, [{"multifd": True, "events": True}])


@pytest.mark.long
def test_whatever_is_left_on_spoils_no_save_and_no_load(qemu, tmp_path):
    """Capabilities with which QEMU crashes, refuses, or saves what cannot be loaded (fact 64)."""
    assert_all_spoil_nothing(start(qemu), tmp_path, LEFT_ON)


@SINCE_10
def test_a_mode_that_is_left_set_spoils_no_save_and_no_load(qemu, tmp_path):
    """In `cpr-transfer` QEMU blocks the save, and a load would fail with the disks reverted."""
    vm = start(qemu)
    vm.execute("migrate-set-parameters", {"mode": "cpr-reboot"})
    assert_saves_and_loads(vm, tmp_path, "a", "monolithic")
    vm.execute("migrate-set-parameters", {"mode": "cpr-transfer"})
    done = apply(vm, tmp_path, "b")
    assert done.returncode == 10, done.stderr
    assert "set the migration parameter mode, which is 'cpr-transfer', to 'normal'" in done.stderr
    done = load(vm, tmp_path, "a")
    assert done.returncode == 0, done.stderr
    assert settings_of(vm)[1]["mode"] == "cpr-transfer"
    assert_guest_unharmed(vm)


def memory_at(path, content=None):
    """What the guest's memory, a shared file, holds at a place; or another content for it."""
    with path.open("r+b") as memory:
        memory.seek(MARK_AT)
        return memory.write(content) if content else memory.read(8)


@pytest.mark.parametrize("state", ["on at the save and the load", "on at the load"])
def test_shared_memory_is_saved_and_loaded_whatever_is_left_on(qemu, tmp_path, state):
    """`x-ignore-shared` would leave the memory out, and the load would keep today's (fact 64)."""
    memory = tmp_path / "ram"
    topology = two_disks(paused=True)
    size = topology.memory_mib
    backend = f"memory-backend-file,id=m0,size={size}M,mem-path={memory},share=on"
    arguments = ("-object", backend, "-machine", "memory-backend=m0")
    vm = qemu.start(dataclasses.replace(topology, extra_args=(*topology.extra_args, *arguments)))
    vm.execute("cont")
    vm.execute("stop")
    memory_at(memory, b"INSTANT1")
    if state == "on at the save and the load":
        put(vm, {"x-ignore-shared": True})
    done = apply(vm, tmp_path, "a")
    assert done.returncode == 0, done.stderr
    memory_at(memory, b"LATER!!!")
    put(vm, {"x-ignore-shared": True})
    done = load(vm, tmp_path, "a")
    assert done.returncode == 0, done.stderr
    assert memory_at(memory) == b"INSTANT1"
    assert "x-ignore-shared" in settings_of(vm)[0]


def test_the_plan_says_what_is_left_on(qemu, tmp_path):
    """By name, with what it would do."""
    vm = qemu.start(two_disks())
    put(vm, {"multifd": True})
    done = apply(vm, tmp_path, "a")
    assert done.returncode == 0, done.stderr
    done = snapplan("plan", vm.directory / "a.yaml", "--vm", vm.qmp_path)
    assert "tag-taken" in done.stderr, "it was saved"
    request = vm.directory / "b.yaml"
    request.write_text((vm.directory / "a.yaml").read_text().replace("tag: a", "tag: b"))
    done = snapplan("plan", request, "--vm", vm.qmp_path)
    assert "multifd is on" in done.stdout
    assert "multifd off" in done.stdout


def fail_a_migration(vm):
    """Somebody's migration fails; QEMU remembers why."""
    with contextlib.suppress(QmpError):
        vm.execute("migrate", uri="file:/no/such/folder/x")
    assert vm.execute("query-migrate")["error-desc"]


@SINCE_10
@pytest.mark.parametrize("paused", [False, True])
def test_a_failed_migration_spoils_no_load(qemu, tmp_path, paused):
    """QEMU would revert the disks and then fail; it is made to forget, and nothing else changes."""
    vm = start(qemu)
    done = apply(vm, tmp_path, "a")
    assert done.returncode == 0, done.stderr
    vm.wait_guest(1, since=len(vm.console()))
    if paused:
        vm.execute("stop")
    fail_a_migration(vm)
    put(vm, {"multifd": True})
    found = settings_of(vm)
    done = load(vm, tmp_path, "a")
    assert done.returncode == 0, done.stderr
    assert settings_of(vm) == found
    assert vm.status() == ("paused" if paused else "running")
    vm.execute("cont")
    assert_guest_unharmed(vm)


@SINCE_10
@pytest.mark.parametrize("capture", ["stopped", "live", "background"])
def test_an_undone_run_leaves_no_error_that_spoils_loads(qemu, capture):
    """A stream that was cancelled or that failed is forgotten by QEMU when the run is undone."""
    vm = start_mixed(qemu)
    assert vm.save("before", ["disk0", "disk1"]) is None
    text = external_request(vm, capture)
    steps = [s.execute for s in run_struck(vm, text, 1).plan.program.steps]
    run = run_struck(vm, text, steps.index("migrate") + 1, "lost")
    assert (run.outcome.phase, run.outcome.left) == (Phase.UNDONE, ())
    assert "error-desc" not in vm.execute("query-migrate")
    assert vm.load("before", ["disk0", "disk1"]) is None
