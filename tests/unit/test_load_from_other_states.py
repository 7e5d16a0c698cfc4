"""What a load does about a guest that has ended or sleeps (fact 77)."""

import pytest
from attrs import evolve

from planner.errors import Refused
from planner.load.ended_guest import Wanted
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.model.hardware import Hardware
from planner.model.peripherals import Device
from planner.model.request import RunStateAfter
from tests.unit.snapshots import images, manifest, vm


def order_of(run_state, version="10.0", after=RunStateAfter.AS_BEFORE, reset=False, now=None):
    before = now or vm(version=version)
    now = evolve(before, run_state=run_state)
    return plan_load(manifest(before), now, images(before), Wanted(after, reset))


def with_failed(device, qdev="disk0", version="10.0", accelerator="kvm"):
    """The VM, where a request to disk0 has failed, which is on such a device."""
    now = vm(version=version)
    failed = evolve(now.disks[0], io_error="nospace", qdev=qdev)
    return evolve(
        now,
        disks=(failed, *now.disks[1:]),
        devices=(Device("disk0", device),),
        hardware=Hardware(accelerator=accelerator, built_in=((3, "ide-hd"),)),
    )


@pytest.mark.parametrize(
    ("run_state", "before", "after"),
    [
        ("running", "running", "running"),
        ("paused", "paused", "paused"),
        ("prelaunch", "paused", "paused"),
        ("restore-vm", "paused", "paused"),
        ("shutdown", "shutdown", "running"),
        ("guest-panicked", "paused", "running"),
        ("suspended", "suspended", "running"),
    ],
)
def test_as_before_is_running_where_nobody_had_stopped_the_guest(run_state, before, after):
    """A guest that ended by itself is to go on; one that somebody stopped stands."""
    order = order_of(run_state)
    assert (order.run_state_before, order.run_state_after) == (before, after)


@pytest.mark.parametrize(
    ("run_state", "version", "way_out"),
    [
        ("suspended", "7.2", "system_wakeup"),
        ("internal-error", "10.0", "system_reset"),
        ("internal-error", "10.0", "--reset"),
        ("suspended", "7.2", "--reset"),
        ("postmigrate", "10.0", "bring it to running"),
    ],
)
def test_what_cannot_be_loaded_names_the_way_out(run_state, version, way_out):
    """The remedy is a command that QEMU takes there."""
    with pytest.raises(Refused) as refused:
        order_of(run_state, version)
    (problem,) = refused.value.problems
    assert problem.code == "run-state-unsupported"
    assert way_out in problem.remedy


def test_a_crash_cannot_be_left_paused():
    """QEMU would go on to call it one."""
    with pytest.raises(Refused) as refused:
        order_of("guest-panicked", after=RunStateAfter.PAUSED)
    assert [problem.code for problem in refused.value.problems] == ["run-state-stays"]


@pytest.mark.parametrize(
    ("run_state", "version", "after"),
    [
        ("internal-error", "10.0", RunStateAfter.AS_BEFORE),
        ("suspended", "7.2", RunStateAfter.AS_BEFORE),
        ("guest-panicked", "10.0", RunStateAfter.PAUSED),
    ],
)
def test_a_reset_leads_out_where_it_is_allowed(run_state, version, after):
    """The VM is told to have been in that state: nothing leads back to it."""
    order = order_of(run_state, version, after, reset=True)
    assert order.resets
    assert order.run_state_before == run_state
    assert next(iter(LoadMachine.of(order)._steps())) == "system_reset"


@pytest.mark.parametrize("run_state", ["running", "paused", "prelaunch", "guest-panicked"])
def test_no_reset_where_none_is_needed(run_state):
    """That it is allowed does not make it wanted."""
    assert not order_of(run_state, reset=True).resets


@pytest.mark.parametrize("device", ["virtio-blk-pci", "scsi-hd"])
def test_after_a_failed_request_it_is_loaded_as_it_stands(device):
    """These devices forget the request, and nobody had stopped the guest."""
    order = order_of("io-error", now=with_failed(device))
    assert (order.run_state_before, order.run_state_after) == ("io-error", "running")
    assert (order.resets, order.stops) == (False, False)


@pytest.mark.parametrize(
    ("device", "qdev"),
    [
        ("ide-hd", "disk0"),
        ("ide-hd", "/machine/unattached/device[3]"),
        ("usb-storage", "/machine/peripheral/disk0/disk0.0/legacy[0]"),
        ("x", "/machine/unattached/device[4]"),
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_device_that_would_repeat_the_request_is_not_loaded(device, qdev, reset):
    """It would be sent again, into what was loaded; a reset does not help, and `cont` is named."""
    with pytest.raises(Refused) as refused:
        order_of("io-error", now=with_failed(device, qdev), reset=reset)
    (problem,) = refused.value.problems
    assert (problem.code, problem.subject) == ("request-kept", "disk0")
    assert "`cont`" in problem.remedy


def test_a_failed_request_of_nobody_is_everybodys():
    """QEMU does not say whose it was: any may have kept it."""
    now = evolve(vm(), devices=(), hardware=Hardware())
    with pytest.raises(Refused) as refused:
        order_of("io-error", now=now)
    assert {problem.code for problem in refused.value.problems} == {"request-kept"}


def test_where_code_is_kept_a_reset_drops_the_request_first():
    """Else the guest has to run for a moment, and meets its failed request again (fact 76)."""
    now = with_failed("virtio-blk-pci", version="11.1", accelerator="tcg")
    assert order_of("io-error", "11.1", now=now, reset=True).resets
    assert not order_of("io-error", "11.1", now=now).resets
