"""Fact 117: a serial port goes on while its guest stands."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.talker import counters, receive, start_talker, wait_stuck
from backends.qemu_facts.steps.links import PORT, connected


@experiment()
def what_waited_in_the_port_goes_out_and_again_once_it_is_loaded(qemu):
    """What was written before goes out while the guest stands; what waited is in the snapshot too."""
    vm = start_talker(qemu, PORT, ("-serial", "null"), paused=True)
    with connected(vm) as link:
        vm.execute("cont")
        sent = wait_stuck(vm)
        vm.execute("stop")
        same(vm.save("a", ["disk0"]), None)
        receive(link, sent)
        same(counters(vm).sent, sent)
        same(vm.load("a", ["disk0"]), None)
        receive(link, 1)
        same(vm.status(), "paused")


if __name__ == "__main__":
    run_by_hand(globals())
