"""Groups of real QEMUs: one instant, all or none, whoever is killed."""

import asyncio
import json
import subprocess
from contextlib import AsyncExitStack, ExitStack

import pytest
import snapplan as snapplan_library

from tests.live.faults import assert_guest_unharmed, assert_nothing_left, request, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, held, snapplan
from tests.support.arguments import command_line
from tests.support.qemu import qemu_binary
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

NAMES = ("db", "web")
BOTH = {"disk0": ["a"], "disk1": ["a"]}


def started(qemu):
    """Two VMs whose guests check themselves."""
    return {name: start(qemu) for name in NAMES}


def group_file(folder, addresses, more=""):
    """A group of these VMs; each is asked for the same."""
    (folder / "request.yaml").write_text(request())
    lines = [f"  {name}: {{vm: {at}, request: request.yaml}}\n" for name, at in addresses.items()]
    path = folder / "group.yaml"
    path.write_text(f"group: together\n{more}members:\n{''.join(lines)}")
    return path


def listed(store):
    return json.loads(snapplan("group", "list", "--store", store, "--json").stdout)["groups"]


def test_two_vms_are_saved_at_one_instant(qemu, tmp_path):
    """Planned, proved, run; both are recorded, both guests go on, and the group is listed."""
    vms, store = started(qemu), tmp_path / "store"
    file = group_file(tmp_path, {name: vm.qmp_path for name, vm in vms.items()})
    plan = as_json(snapplan("group", "plan", file, "--json", "--store", store))["plan"]
    assert [each["member"] for each in plan["members"]] == ["db", "web"]
    assert {each["design"] for each in plan["members"]} == {"transactional"}
    assert not store.exists(), "a plan writes nothing"
    saved = as_json(snapplan("group", "apply", file, "--json", "--store", store))["saved"]
    assert saved["spread-us"] >= 0
    assert [each["run-state"] for each in saved["members"]] == ["running", "running"]
    [group] = listed(store)
    assert (group["group"], group["standing"]) == ("together", "whole")
    for vm in vms.values():
        assert held(vm, BOTH) == BOTH
        assert_guest_unharmed(vm)
    gone_back(vms, store)
    again = snapplan("group", "apply", file, "--json", "--store", store)
    assert (again.returncode, as_json(again)["error"]["code"]) == (10, "group-taken")
    asked = snapplan("group", "delete", "together", "--store", store, "--json")
    assert (asked.returncode, as_json(asked)["error"]["code"]) == (2, "confirmation-missing")
    gone = as_json(snapplan("group", "delete", "together", "--store", store, "--json", "--yes"))
    assert [each["member"] for each in gone["deleted"]["members"]] == ["db", "web"]
    assert listed(store) == []
    for vm in vms.values():
        assert held(vm, BOTH) == {"disk0": [], "disk1": []}


def gone_back(vms, store):
    """One alone is refused; the group goes back, and both guests find memory and disks in order."""
    where = ("--store", store, "--json")
    alone = snapplan("load", "a", "--vm", vms["db"].qmp_path, *where)
    assert (alone.returncode, as_json(alone)["error"]["code"]) == (10, "group-member")
    since = {name: len(vm.console()) for name, vm in vms.items()}
    loaded = as_json(snapplan("group", "load", "together", *where))["loaded"]
    assert [each["run-state"] for each in loaded["members"]] == ["running", "running"]
    for name, vm in vms.items():
        vm.wait_guest(since=since[name])
    verified = snapplan("group", "verify", "together", *where)
    assert (verified.returncode, as_json(verified)["verified"]["whole"]) == (0, True)
    shown = snapplan("load", "a", "--vm", vms["db"].qmp_path, "--alone", *where)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.long
def test_what_was_there_is_kept_and_gone_back_to(qemu, tmp_path):
    """A load that keeps: the way back is a group, which is loaded like any; a taken name keeps all."""
    vms, store = started(qemu), tmp_path / "store"
    where = ("--store", store, "--json")
    file = group_file(tmp_path, {name: vm.qmp_path for name, vm in vms.items()})
    assert snapplan("group", "apply", file, *where).returncode == 0
    for vm in vms.values():
        vm.wait_guest(since=len(vm.console()))
    load = ("group", "load", "together", "--keep-current", "then", *where)
    loaded = as_json(snapplan(*load))["loaded"]
    assert loaded["kept"] == "then"
    assert [each["run-state"] for each in loaded["members"]] == ["running", "running"]
    for vm in vms.values():
        vm.wait_guest(since=len(vm.console()))
    taken = snapplan(*load)
    assert (taken.returncode, as_json(taken)["error"]["code"]) == (10, "group-taken")
    assert {each["group"]: each["standing"] for each in listed(store)} == {
        "together": "whole",
        "then": "whole",
    }
    back = as_json(snapplan("group", "load", "then", *where))["loaded"]
    assert [each["run-state"] for each in back["members"]] == ["running", "running"]
    for vm in vms.values():
        vm.wait_guest(since=len(vm.console()))


def test_a_failure_in_one_undoes_the_other(qemu, tmp_path):
    """The second member holds a snapshot that fills the place of its own: both are as before."""
    vms, store = started(qemu), tmp_path / "store"
    file = group_file(tmp_path, {name: vm.qmp_path for name, vm in vms.items()})
    done = snapplan("group", "apply", file, "--json", "--store", store, "--deadline", "0.000001")
    assert done.returncode == 20, done.stderr
    assert as_json(done)["error"]["code"] in {"deadline-passed", "group-aborted"}
    assert listed(store) == []
    for vm in vms.values():
        assert_nothing_left(vm)


@pytest.mark.parametrize(
    ("command", "after"),
    [("cont", False), pytest.param("transaction", True, marks=pytest.mark.long)],
)
def test_a_killed_group_is_recovered(qemu, tmp_path, command, after):
    """SIGKILL of snapplan while one member is at a step: both members are undone."""
    vms, store = started(qemu), tmp_path / "store"
    with ExitStack() as gates:
        held_back = gates.enter_context(Gate(vms["web"], command))
        at = {"db": vms["db"].qmp_path, "web": held_back.path}
        file = group_file(tmp_path, at)
        running = subprocess.Popen(
            [SNAPPLAN, "group", "apply", file, "--store", store],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        held_back.kill(running, after=after)
    [group] = listed(store)
    assert (group["standing"], group["pending"]) == ("pending", ["db", "web"])
    with Gate(vms["web"], "nothing"):
        done = as_json(snapplan("group", "recover", "together", "--store", store, "--json"))
    assert {each["end"] for each in done["recovered"]} == {"undone"}
    assert listed(store) == []
    for vm in vms.values():
        assert_nothing_left(vm)


@pytest.mark.long
@pytest.mark.parametrize("command", ["stop", "transaction", "cont"])
def test_a_member_that_dies_between_its_gates_takes_the_others_with_it(qemu, tmp_path, command):
    """Its QEMU is killed while it is at a step: the other one is undone, and its guest runs."""
    vms, store = started(qemu), tmp_path / "store"
    with Gate(vms["web"], command) as held_back:
        file = group_file(tmp_path, {"db": vms["db"].qmp_path, "web": held_back.path})
        running = subprocess.Popen(
            [SNAPPLAN, "group", "apply", file, "--store", store, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        held_back.wait_arrived()
        vms["web"].process.kill()
        held_back.release()
        said, _ = running.communicate(timeout=120)
    error = json.loads(said)["error"]
    assert (running.returncode, error["code"]) == (22, "connection-lost"), said
    assert "db is running, web is not to be asked" in error["vm-state"]
    recovered = snapplan("group", "recover", "together", "--store", store, "--json")
    assert [each["end"] for each in as_json(recovered)["recovered"]] == ["undone"]
    assert listed(store) == []
    assert vms["web"].image_tags("disk0") == []
    assert_guest_unharmed(vms["db"])
    assert_nothing_left(vms["db"])


@pytest.mark.long
def test_a_group_that_has_decided_is_finished(qemu, tmp_path):
    """One member's record cannot be written: `recover` writes it, and undoes nothing."""
    vms, store = started(qemu), tmp_path / "store"
    addresses = {name: vm.qmp_path for name, vm in vms.items()}
    file = group_file(tmp_path, addresses)
    first = snapplan("list", "--vm", vms["web"].qmp_path, "--store", store, "--json")
    assert first.returncode == 0
    done = blocked(file, store)
    assert (done.returncode, as_json(done)["error"]["code"]) == (21, "manifest-unwritten")
    [group] = listed(store)
    assert (group["standing"], len(group["pending"])) == ("pending", 2)
    for share in store.iterdir():
        if share.name != "groups":
            (share / "manifests").unlink()
    done = as_json(snapplan("group", "recover", "together", "--store", store, "--json"))
    assert {each["end"] for each in done["recovered"]} == {"done"}
    assert [each["standing"] for each in listed(store)] == ["whole"]
    for vm in vms.values():
        assert held(vm, BOTH) == BOTH


def blocked(file, store):
    """A save of a group in whose members' folders no manifest can be written."""
    refused = snapplan("group", "apply", file, "--store", store, "--deadline", "0.000001")
    assert refused.returncode == 20  # it made the members' folders
    shares = [each for each in store.iterdir() if each.name != "groups"]
    assert len(shares) == len(NAMES)
    for share in shares:
        (share / "manifests").symlink_to("/nowhere/at/all")
    return snapplan("group", "apply", file, "--store", store, "--json")


@pytest.mark.long
def test_members_of_one_image_are_refused_by_name(qemu, tmp_path):
    """Under another name too, where QEMU's own locks are off: not as a VM that is locked."""
    vms = {}
    for name in NAMES:
        vms[name] = qemu.start(Topology((DiskSpec("disk0"),), paused=True))
    image, other = (vm.image("disk0") for vm in vms.values())
    vms["web"].end()
    other.unlink()
    other.symlink_to(image)
    line = [qemu_binary(), *command_line(vms["web"].directory, vms["web"].topology)]
    for each in ("qmp", "tool"):
        (vms["web"].directory / each).unlink(missing_ok=True)
    unlocked = [word.replace('"filename":', '"locking": "off", "filename":') for word in line]
    with subprocess.Popen(unlocked, cwd=vms["web"].directory) as process:
        try:
            vms["db"].wait_until((vms["web"].directory / "tool").exists, "the socket")
            file = group_file(tmp_path, {name: vm.qmp_path for name, vm in vms.items()})
            done = snapplan("group", "apply", file, "--store", tmp_path / "store", "--json")
        finally:
            process.kill()
    problems = as_json(done)["error"]["problems"]
    assert [each["code"] for each in problems] == ["group-image-shared"], problems
    assert [each["subject"] for each in problems] == ["db, web"]


@pytest.mark.long
def test_a_program_does_the_same(qemu, tmp_path):
    """`save_group` and its group, awaited and blocking: the twins have a loop for each VM."""
    vms, store = started(qemu), tmp_path / "store"

    async def awaited():
        async with AsyncExitStack() as stack:
            at = {
                name: await stack.enter_async_context(
                    snapplan_library.attach(vm.qmp_path, store=store)
                )
                for name, vm in vms.items()
            }
            group = await snapplan_library.save_group(at, "first")
            since = {name: len(vm.console()) for name, vm in vms.items()}
            outcomes = await group.load()
            assert {each.run_state for each in outcomes.values()} == {"running"}
            for name, vm in vms.items():
                vm.wait_guest(since=since[name])
            assert (await group.verify()).whole
            alone = await at["db"].snapshot("first")
            with pytest.raises(snapplan_library.Refused) as refused:
                await alone.load()
            assert refused.value.code == "group-member"

    asyncio.run(awaited())
    sync = snapplan_library.sync
    with ExitStack() as stack:
        at = {
            name: stack.enter_context(sync.attach(vm.qmp_path, store=store))
            for name, vm in vms.items()
        }
        found = sync.find_group(at, "first")
        assert (found.standing, found.members) == ("whole", NAMES)
        found.delete()
        group = sync.save_group(at, "second")
        group.load()
        assert group.verify().whole
    assert [each["group"] for each in listed(store)] == ["second"]
    for vm in vms.values():
        assert_guest_unharmed(vm)
