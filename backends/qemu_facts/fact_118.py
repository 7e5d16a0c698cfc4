"""Fact 118: a port that waited for its link when it was saved needs it when it is loaded."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.talker import counters, receive, start_talker, wait_stuck
from backends.qemu_facts.steps.links import PORT, connected, is_cut


@experiment()
def without_its_link_it_never_sends_again(qemu):
    """Also when somebody is there later; a load with the link connected helps."""
    vm = start_talker(qemu, PORT, ("-serial", "null"), paused=True)
    with connected(vm):
        vm.execute("cont")
        sent = wait_stuck(vm)
        vm.execute("stop")
        same(vm.save("a", ["disk0"]), None)
    vm.wait_until(lambda: is_cut(vm), "the cut link")
    same(vm.load("a", ["disk0"]), None)
    since = len(vm.console())
    vm.execute("cont")
    with connected(vm) as link:
        vm.wait_guest(4, since=since)
        same(counters(vm).sent, sent)
        vm.execute("stop")
        same(vm.load("a", ["disk0"]), None)
        vm.execute("cont")
        receive(link, 1000)
        holds(counters(vm).sent > sent, "it sends")


if __name__ == "__main__":
    run_by_hand(globals())
