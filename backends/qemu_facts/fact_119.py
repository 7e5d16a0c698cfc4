"""Fact 119: what is under way on a link when its guest is loaded in place reaches the loaded guest."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.talker import counters, start_talker
from backends.qemu_facts.steps.links import connected, port


@experiment()
def it_receives_what_was_sent_after_it_was_saved(qemu):
    """By its memory nobody has sent it yet."""
    vm = start_talker(qemu, ("-serial", "null"), port("com2"))
    vm.wait_guest(2)
    vm.execute("stop")
    same(vm.save("a", ["disk0"]), None)
    received = counters(vm).received
    with connected(vm, "com2") as link:
        link.sendall(bytes(100))
        same(vm.load("a", ["disk0"]), None)
        same(counters(vm).received, received)
        vm.execute("cont")
        vm.wait_until(lambda: counters(vm).received > received, "bytes of another time")


if __name__ == "__main__":
    run_by_hand(globals())
