"""Fact 3: which job ids are taken."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
@cases("job_id", ["", "1", "-a", "_a", "a b", "a/b", "a:b", "ä"])
def job_id_of_other_characters_is_refused(target, job_id):
    """A job id that is not a letter and then `[A-Za-z0-9._-]` is refused at once."""
    vm = target.start(two_disks())
    arguments = {"job-id": job_id, "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    same(vm.refusal("snapshot-save", arguments), f"Invalid job ID '{job_id}'")


@experiment()
def job_id_of_a_letter_and_the_rest_is_accepted(target):
    """All of `[A-Za-z0-9._-]` may follow the letter."""
    vm = target.start(two_disks())
    same(vm.run_job("snapshot-save", tag="a", devices=["disk0"], job_id="Zz9._-"), None)


if __name__ == "__main__":
    run_by_hand(globals())
