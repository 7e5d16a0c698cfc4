"""Fact 49: STOP and RESUME come before the reply."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def stop_and_resume_are_told_before_the_reply(target):
    """When `stop` or `cont` is answered, its event has been sent already."""
    vm = target.start(two_disks())
    for command, event in (("stop", "STOP"), ("cont", "RESUME")):
        mark = len(vm.qmp.log)
        vm.execute(command)
        same([message.get("event", "reply") for message in vm.qmp.log[mark:]], [event, "reply"])


if __name__ == "__main__":
    run_by_hand(globals())
