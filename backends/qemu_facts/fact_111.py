"""Fact 111: a backup in a transaction is of its instant."""

from backends.qemu_facts.lab import guest, images
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, missing, same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal
from backends.qemu_facts.steps.copies import add_target, concluded, copying


@experiment()
def a_copy_is_of_the_instant_of_its_transaction(qemu):
    """The guest goes on while it is copied, and what it writes is not in the copy."""
    vm = qemu.start(two_disks(guest=True))
    path = add_target(vm)
    mark = copying(vm, internal("disk1", "a"))
    [job] = vm.execute("query-jobs")
    same((job["status"], job["type"]), ("running", "backup"))
    at = len(vm.console())
    vm.execute("cont")
    vm.wait_guest(3, since=at)
    vm.execute("block-job-set-speed", device="copy", speed=0)
    missing("error", concluded(vm, mark))
    told = [e["data"]["status"] for e in vm.events[mark:] if e["event"] == "JOB_STATUS_CHANGE"]
    kept = [status for status in dict.fromkeys(told) if status != "paused"]
    same(kept, ["created", "running", "waiting", "pending", "concluded"])
    vm.execute("job-dismiss", id="copy")
    vm.end()
    raw = vm.directory / "raw"
    images.qemu_img(qemu_img_binary(), "convert", "-O", "raw", path, raw)
    copied = guest.last_counter(raw.read_bytes())
    # Of one round: the guest writes to disk0 before disk1.
    found(copied - vm.counter_in_image("disk1", "a"), (0, 1))


if __name__ == "__main__":
    run_by_hand(globals())
