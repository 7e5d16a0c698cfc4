"""Fact 155: copies of one transaction end together, or each by itself."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.copies import SLOW

CANCELLED = "Operation canceled"


def begun(vm, mode):
    """Two copies of a transaction, the first of which takes its time; the second has no more to do."""
    actions = []
    for number, more in enumerate(({"speed": SLOW}, {})):
        vm.add_node(f"copy{number}")
        data = {"job-id": f"job{number}", "device": f"disk{number}", "target": f"copy{number}"}
        data |= {"sync": "full", "auto-dismiss": False, **more}
        actions.append({"type": "blockdev-backup", "data": data})
    mark = vm.qmp.mark()
    vm.execute("transaction", {"actions": actions, "properties": {"completion-mode": mode}})
    waits = "waiting" if mode == "grouped" else "concluded"
    vm.wait_event(
        "JOB_STATUS_CHANGE", lambda data: data == {"status": waits, "id": "job1"}, since=mark
    )
    return mark


@experiment()
@cases("mode", ["grouped", "individual"])
def one_that_is_cancelled_ends_those_of_its_group(qemu, mode):
    """A copy that has no more to do waits for the others, and is cancelled with them."""
    vm = qemu.start(two_disks(paused=True))
    mark = begun(vm, mode)
    same(vm.job("job1")["status"], "waiting" if mode == "grouped" else "concluded")
    vm.execute("job-cancel", id="job0")
    ends = [vm.finish_job(f"job{number}", since=mark) for number in (0, 1)]
    same(ends, [CANCELLED, CANCELLED if mode == "grouped" else None])


@experiment()
@cases("kind", ["block-dirty-bitmap-add", "blockdev-snapshot-internal-sync"])
def nothing_but_backups_is_grouped(qemu, kind):
    """A bitmap that is added beside them is refused, too."""
    vm = qemu.start(two_disks(paused=True))
    vm.add_node("copy0")
    where = {"node": "disk0"} if kind == "block-dirty-bitmap-add" else {"device": "disk0"}
    copy = {"job-id": "j", "device": "disk1", "target": "copy0", "sync": "full"}
    actions = [
        {"type": kind, "data": {**where, "name": "b"}},
        {"type": "blockdev-backup", "data": copy},
    ]
    grouped = {"actions": actions, "properties": {"completion-mode": "grouped"}}
    word = "Transaction" if vm.version < (10, 0) else "transaction"
    told = f"Action '{kind}' does not support {word} property completion-mode = grouped"
    same(vm.refusal("transaction", grouped), told)
    same(vm.execute("query-jobs"), [])


if __name__ == "__main__":
    run_by_hand(globals())
