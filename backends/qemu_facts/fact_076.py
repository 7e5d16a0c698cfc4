"""Fact 76: translated code outlives a load."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.changing import changing_guest, wait_letter
from backends.qemu_facts.lab.experiment import experiment, resource
from backends.qemu_facts.lab.outcome import defect, same

NO_SUCH_TAG = "Snapshot 'none' does not exist in one or more devices"


@resource()
def vm(qemu, tmp_path):
    """Saved when the guest's routine said one letter; now it has been changed, and says another."""
    vm = qemu.start(changing_guest(tmp_path))
    wait_letter(vm)
    vm.execute("stop")
    saved = vm.console()[-1]
    same(vm.save("a", ["disk0"], "disk0"), None)
    vm.execute("cont")
    wait_letter(vm, len(vm.console()), other_than=saved)
    return vm


def stop_by_load(vm):
    same(vm.run_job("snapshot-load", tag="none", devices=["disk0"], vmstate="disk0"), NO_SUCH_TAG)
    same(vm.status(), "restore-vm")


def went_on_with(vm):
    """Load, continue, and see which code runs: that in memory, or what it was before."""
    same(vm.load("a", ["disk0"], "disk0"), None)
    since = len(vm.console())
    vm.execute("cont")
    vm.wait_until(lambda: len(vm.console()) >= since + 4, "letters, or FAIL")
    return "code of before" if "FAIL" in vm.console()[since:] else "code in memory"


@experiment(since=(10, 2))
def after_stop_the_code_of_before_runs(vm):
    """Memory holds the old routine, and the processor runs the new one."""
    vm.execute("stop")
    defect(went_on_with(vm), known="code of before", right="code in memory")


@experiment(since=(10, 2))
def a_reset_does_not_help(vm):
    """Neither does a load that finds nothing, once the guest stands."""
    vm.execute("stop")
    same(vm.run_job("snapshot-load", tag="none", devices=["disk0"], vmstate="disk0"), NO_SUCH_TAG)
    same(vm.status(), "paused")
    vm.execute("system_reset")
    vm.wait_until(lambda: vm.status() == "prelaunch", "the reset")
    defect(went_on_with(vm), known="code of before", right="code in memory")


@experiment(before=(10, 2))
def before_10_2_the_code_in_memory_runs(vm):
    """Each load makes those forget the translations."""
    vm.execute("stop")
    same(went_on_with(vm), "code in memory")


@experiment()
def stopped_by_a_load_that_finds_nothing(vm):
    """It stops the guest itself, forgets the translations, and reverts nothing."""
    stop_by_load(vm)
    same(went_on_with(vm), "code in memory")


@experiment()
def a_guest_that_stood_has_to_run_for_that(vm):
    """`cont`, and the load that finds nothing right behind it."""
    vm.execute("stop")
    vm.execute("cont")
    stop_by_load(vm)
    same(went_on_with(vm), "code in memory")


if __name__ == "__main__":
    run_by_hand(globals())
