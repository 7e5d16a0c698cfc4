"""Machine state in an image of its own, on a node that no guest uses: saved, loaded, deleted."""

import itertools
import json

import pytest

from tests.live.external import account_of, run_struck, start_mixed
from tests.live.faults import assert_guest_unharmed
from tests.live.restores import request_of, restored, save_external, store
from tests.live.runs import snapplan
from tests.support import guest
from tests.support.images import info
from tests.support.qemu import file_mode, qemu_img_binary
from tests.support.topology import DiskKind, two_disks
from tests.support.user import as_nobody

pytestmark = pytest.mark.real_qemu

STEPS = 13
"""Of a mixed request: settings are as they should be, so none are made."""


def image_of(vm, tag="a"):
    return vm.directory / f"{tag}.vmstate.qcow2"


def save(vm, parts, tag="a"):
    """Save, and let the guest go on; the manifest, and the counters before and now."""
    before = vm.wait_guest(1)[-1]
    state = {"image": str(image_of(vm, tag))}
    manifest = save_external(vm, request_of(tag, parts, state, others="exclude"))
    vm.wait_guest(4, since=len(vm.console()))
    assert_guest_unharmed(vm)
    return manifest, before, guest.heartbeats(vm.console())[-1]


def told(command, source, vm, *how):
    done = snapplan(command, source, *how, *store(vm))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def went_back(vm):
    """Where the guest went on each time that its counter fell."""
    counters = guest.heartbeats(vm.console())
    return [now for last, now in itertools.pairwise(counters) if now < last]


def assert_sound(vm, *how):
    code, verdict = told("verify", "a", vm, *how)
    assert (code, verdict["findings"]) == (0, [])


def assert_nothing_left(vm):
    assert not [name for name in vm.nodes() if name.startswith("snapplan-")]
    assert vm.execute("query-fdsets") == []
    assert vm.execute("query-jobs") == []


@pytest.mark.parametrize("kind", [DiskKind.DRIVE])
def test_all_internal_loads_in_place_and_the_image_stays_what_it_was(qemu, kind):
    """Twice; no disk holds vmstate, the image is 0600, of the disks' instant, and changes no bit."""
    vm = qemu.start(two_disks(kind, guest=True))
    parts = dict.fromkeys(("disk0", "disk1"), "internal")
    manifest, before, later = save(vm, parts)
    image = image_of(vm)
    was = image.read_bytes(), image.stat()
    (held,) = info(qemu_img_binary(), image)["snapshots"]
    recorded = {part["kind"]: part for part in json.loads(manifest.read_text())["parts"]}
    own = recorded["vmstate-image"]
    assert (held["name"], held["id"]) == ("a", own["snapshot-id"])
    assert held["vm-state-size"] == own["vm-state-size-bytes"] > 0
    assert recorded["internal"]["vm-clock-ns"] == own["vm-clock-ns"]
    assert recorded["internal"]["vm-state-size-bytes"] == 0
    assert file_mode(image) == 0o600
    assert_nothing_left(vm)
    for number in (1, 2):
        code, _said = told("load", "a", vm, "--vm", vm.qmp_path)
        assert code == 0
        vm.wait_until(lambda n=number: len(went_back(vm)) == n, "the guest to go back")
        assert before < went_back(vm)[-1] <= later
        assert_guest_unharmed(vm)
        assert_nothing_left(vm)
        assert (image.read_bytes(), image.stat()) == was
    assert_sound(vm, "--vm", vm.qmp_path)
    code, _said = told("delete", "a", vm, "--vm", vm.qmp_path, "--yes")
    assert (code, image.exists(), vm.tags("disk0")) == (0, False, [])


@pytest.mark.long
def test_all_external_restores_twice(qemu):
    """Refused before: machine state in QEMU's snapshot format, and every disk under an overlay."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    folder = vm.directory
    parts = {"disk0": folder / "o0.qcow2", "disk1": folder / "o1.qcow2"}
    manifest, before, later = save(vm, parts)
    code, said = told("load", "a", vm, "--vm", vm.qmp_path)
    assert code == 10
    assert {problem["code"] for problem in said["error"]["problems"]} == {"load-cannot"}
    vm.end()
    was = image_of(vm).read_bytes()
    for _ in range(2):
        with restored(vm, manifest) as again:
            counters = again.wait_guest(3)
            assert "start" not in again.console()
            assert before < counters[0] < later
            assert again.status() == "running"
            assert again.execute("query-jobs") == []
        assert image_of(vm).read_bytes() == was
    assert_sound(vm, "--offline", "--deep")
    with image_of(vm).open("r+b") as image:
        image.seek(-1, 2)
        image.write(b"x")
    code, verdict = told("verify", "a", vm, "--offline", "--deep")
    assert (code, verdict["findings"][-1]["code"]) == (30, "stream-differs")
    code, said = told("load", "a", vm)
    assert (code, said["error"]["problems"][0]["code"]) == (10, "stream-differs")
    code, said = told("delete", "a", vm, "--offline", "--yes", "--overlays", "keep")
    assert (code, image_of(vm).exists()) == (10, True), "it may be anybody's file by now"


@pytest.mark.long
def test_mixed_goes_back_in_a_fresh_qemu(qemu):
    """The internal disk is reverted by the same load, the raw one gets a new overlay."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    manifest, before, later = save(vm, {"disk0": "internal", "disk1": vm.directory / "o1.qcow2"})
    vm.end()
    with restored(vm, manifest, "--yes") as again:
        counters = again.wait_guest(3)
        assert before < counters[0] < later


@pytest.mark.long
def test_a_qemu_of_another_user_writes_and_reads_it(qemu):
    """By descriptors: the image is ours and 0600, and QEMU could not open it."""
    vm = as_nobody(qemu, two_disks(guest=True))
    manifest, _, _ = save(vm, dict.fromkeys(("disk0", "disk1"), "internal"))
    assert manifest.exists()
    assert file_mode(image_of(vm)) == 0o600
    assert told("load", "a", vm, "--vm", vm.qmp_path)[0] == 0
    assert_guest_unharmed(vm)


def request_for(vm):
    state = {"image": str(image_of(vm))}
    parts = {"disk0": "internal", "disk1": "internal", "vars0": vm.directory / "a.vars0.qcow2"}
    return request_of("a", parts, state)


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (8, "lost"),
        *(
            pytest.param(number, how, marks=pytest.mark.long)
            for number in range(1, STEPS)
            for how in ("refused", "lost")
            if (number, how) != (8, "lost")
        ),
    ],
)
def test_a_step_that_fails_leaves_everything_as_it_was(qemu, number, how):
    """Whichever it is: no node, no file, no set, no part; the guest runs on."""
    vm = start_mixed(qemu)
    before = account_of(vm)
    run = run_struck(vm, request_for(vm), number, how)
    assert run.struck.struck
    assert len(run.plan.program.steps) == STEPS - 1
    assert (run.outcome.phase.value, run.outcome.left) == ("undone", ())
    assert account_of(vm) == before
    assert_nothing_left(vm)
    assert_guest_unharmed(vm)
    done = run_struck(vm, request_for(vm))
    assert done.outcome.phase.value == "done"
