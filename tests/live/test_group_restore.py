"""A group goes back in new QEMUs: all of its members, with their links, or none."""

import contextlib
import os
from pathlib import Path

import pytest

from tests.live.restores import Adopted, template
from tests.live.runs import as_json, snapplan
from tests.support import qemu as harness
from tests.support.qmp import QmpClient
from tests.support.talkers import counters, received_unsent, start_ring, wait_heard

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]

NAMES = ("db", "web")


def group_of(folder, vms, disk0="overlay"):
    """Machine state in a stream, and what becomes of `disk0`; each file beside its VM's image."""
    lines = []
    for name, vm in vms.items():
        overlay = {"overlay": f"{{external: {vm.directory}/disk0.a.qcow2}}"}.get(disk0, disk0)
        state = (
            f"{{external: {vm.directory}/state, capture: stopped}}"
            if disk0 != "inside"
            else "{internal: disk0}"
        )
        part = "internal" if disk0 == "inside" else overlay
        (folder / f"{name}.yaml").write_text(
            f"tag: a\nmachine-state: {state}\ndisks: {{disk0: {part}}}\nothers: exclude\n"
        )
        lines.append(f"  {name}: {{vm: {vm.qmp_path}, request: {name}.yaml}}\n")
    path = folder / "group.yaml"
    path.write_text(f"group: together\nmembers:\n{''.join(lines)}")
    return path


def saved(qemu, folder, disk0="overlay"):
    """A ring of guests that talk, saved as a group and ended; their lines by member."""
    vms = start_ring(qemu, NAMES)
    done = snapplan("group", "apply", group_of(folder, vms, disk0), "--json", *at(folder))
    assert done.returncode == 0, done.stderr
    lines = {}
    for member in as_json(done)["saved"]["members"]:
        vm = vms[member["member"]]
        line = template(vm, Path(member["manifest"]))
        for com in ("com1", "com2"):  # relative to the folder that the harness starts QEMU in
            line = line.replace(f"path={com},", f"path={vm.directory}/{com},")
        lines[member["member"]] = line
    wait_heard(vms)
    for vm in vms.values():
        vm.end()
        (vm.directory / "console").unlink()
    return vms, lines


def at(folder):
    return ("--store", folder / "store")


def load(folder, lines, *more):
    words = [word for name, line in lines.items() for word in ("--run", f"{name}={line}")]
    return snapplan("group", "load", "together", *words, *more, "--json", *at(folder))


@contextlib.contextmanager
def restored(vms, folder, lines, *more):
    """The VMs that one command has started; ended when it is left."""
    done = load(folder, lines, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    with contextlib.ExitStack() as stack:
        again = {}
        for member in as_json(done)["restored"]["members"]:
            process = Adopted.of(member["pid"])
            stack.callback(os.close, process.handle)
            stack.callback(harness.end_process, process)
            vm = vms[member["member"]]
            qmp = stack.enter_context(contextlib.closing(QmpClient(vm.directory / "qmp")))
            new = harness.QemuVm(vm.topology, vm.directory, qmp, vm.directory / "tool", process)
            new.said = member
            again[member["member"]] = new
        yield again


@pytest.mark.parametrize(
    ("disk0", "how"),
    [("overlay", "new-overlay"), ("internal", "revert"), ("inside", "as-it-is")],
)
def test_a_group_goes_back_in_new_qemus(qemu, tmp_path, disk0, how):
    """Linked, paused, torn by nothing; then they go on, and none is stuck. Twice."""
    vms, lines = saved(qemu, tmp_path, disk0)
    for _ in range(2):
        with restored(vms, tmp_path, lines, "--run-state-after", "paused", "--yes") as again:
            assert {vm.said["disks"][0]["how"] for vm in again.values()} == {how}
            assert received_unsent([counters(vm) for vm in again.values()]) == 0
            for vm in again.values():
                vm.execute("cont")
            wait_heard(again)


def test_a_group_of_which_one_does_not_start_goes_back_nowhere(qemu, tmp_path):
    """The other one's QEMU is ended, its new overlay and its record are gone; then it works."""
    vms, lines = saved(qemu, tmp_path)
    before = {name: sorted(p.name for p in vm.directory.iterdir()) for name, vm in vms.items()}
    missing = load(tmp_path, {"db": lines["db"]})
    assert (missing.returncode, as_json(missing)["error"]["code"]) == (2, "group-member-missing")
    wrong = load(tmp_path, lines | {"web": f"{lines['web']} -device nosuch"})
    assert wrong.returncode == 20, wrong.stdout
    error = as_json(wrong)["error"]
    assert error["code"] == "qemu-not-started"
    assert "web: " in error["message"]
    assert "nosuch" in error["message"]
    after = {name: {p.name for p in vm.directory.iterdir()} for name, vm in vms.items()}
    made = {name: after[name] - {*before[name], "qmp", "tool", "console"} for name in NAMES}
    assert made == {"db": set(), "web": set()}
    listed = snapplan("restore", "list", "--json", *at(tmp_path))
    assert as_json(listed)["restores"] == []
    with restored(vms, tmp_path, lines) as again:
        wait_heard(again)


KILLING = """#!/bin/sh
# snapplan dies when it starts this QEMU, and the other one is there.
until [ -S '{other}' ]; do sleep 0.05; done
sleep 0.5
kill -9 $PPID
"""


def test_a_restore_that_is_killed_is_dropped_and_done_again(qemu, tmp_path):
    """The QEMU that is there stands; what was made is listed, dropped, and made again."""
    vms, lines = saved(qemu, tmp_path)
    killing = tmp_path / "qemu"
    killing.write_text(KILLING.format(other=vms["db"].directory / "tool"))
    killing.chmod(0o700)
    done = load(tmp_path, lines | {"web": f"{killing} {lines['web']}"})
    assert done.returncode == -9
    assert vms["db"].console() == "", "its guest has run"
    left = as_json(snapplan("restore", "list", "--json", *at(tmp_path)))["restores"]
    assert [each["state"] for each in left] == ["started", "started"]
    (pid,) = [each["pid"] for each in left if each["pid"]]
    again = load(tmp_path, lines)
    assert (again.returncode, as_json(again)["error"]["code"]) == (20, "address-in-use")
    harness.end_process(Adopted.of(pid))
    for restore in left:
        (record,) = (tmp_path / "store" / restore["vm-key"] / "restores").glob("*.json")
        dropped = snapplan("restore", "drop", record, "--yes", *at(tmp_path))
        assert dropped.returncode == 0, dropped.stderr
        assert not [each["file"] for each in restore["files"] if Path(each["file"]).exists()]
    with restored(vms, tmp_path, lines) as again:
        wait_heard(again)
