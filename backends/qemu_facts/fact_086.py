"""Fact 86: x-ignore-shared left on in a clone."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, found, same
from backends.qemu_facts.lab.templates import (
    IGNORE_SHARED,
)
from backends.qemu_facts.steps.template import (
    goes_on,
    template,  # noqa: F401 - a resource
)

ALL_DISKS = ("disk0", "disk1")


@experiment(slow=True)
def a_clone_that_has_it_on_saves_what_nobody_else_loads(template):
    """The memory is in the snapshot, for a clone maps it private; and the capability is, too."""
    with template.clone() as vm:
        goes_on(vm)
        same(vm.save("a", ALL_DISKS, "disk0"), None)
        vm.execute("stop")
        same(vm.load("a", ALL_DISKS, "disk0"), None)
        off = [{"capability": IGNORE_SHARED, "state": False}]
        vm.execute("migrate-set-capabilities", capabilities=off)
        differs(vm.load("a", ALL_DISKS, "disk0"), None)
        found("received capability is on", vm.stderr())


@experiment(slow=True)
def switched_off_again_it_saves_like_any_other(template):
    with template.clone() as vm:
        off = [{"capability": IGNORE_SHARED, "state": False}]
        vm.execute("migrate-set-capabilities", capabilities=off)
        goes_on(vm)
        same(vm.save("a", ALL_DISKS, "disk0"), None)
        vm.execute("stop")
        same(vm.load("a", ALL_DISKS, "disk0"), None)
        goes_on(vm)


if __name__ == "__main__":
    run_by_hand(globals())
