"""Fact 2: QMP answers nothing in the middle of a save."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def nothing_is_answered_in_the_middle_of_a_save(target):
    """However often it is asked, QMP never shows the run state `save-vm`."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    vm.qmp.send("snapshot-save", arguments)
    asked = [vm.qmp.send("query-status") for _ in range(40)]
    seen = {vm.qmp.reply_to(command_id)["status"] for command_id in asked}
    same(seen, {"running"})
    same(vm.finish_job("save"), None)


@experiment()
def concluded_job_cannot_be_cancelled(target):
    """There is no moment in which a save could be called back."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    vm.execute("snapshot-save", arguments)
    vm.wait_event("JOB_STATUS_CHANGE", lambda data: data["status"] == "concluded")
    words = vm.refusal("job-cancel", id="save")
    same(words, "Job 'save' in state 'concluded' cannot accept command verb 'cancel'")


if __name__ == "__main__":
    run_by_hand(globals())
