"""Fact 58: commands are answered in their order."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def what_is_sent_behind_a_command_is_answered_behind_it(target):
    """Nobody waits for a reply here, and each question is answered as if somebody had."""
    vm = target.start(two_disks())
    for _ in range(10):
        mark = len(vm.qmp.log)
        ids = [vm.qmp.send(name) for name in ("stop", "query-status", "cont", "query-status")]
        same(vm.qmp.reply_to(ids[1])["status"], "paused")
        same(vm.qmp.reply_to(ids[3])["status"], "running")
        told = [message.get("event", message.get("id")) for message in vm.qmp.log[mark:]]
        same(told, ["STOP", *ids[:2], "RESUME", *ids[2:]])


if __name__ == "__main__":
    run_by_hand(globals())
