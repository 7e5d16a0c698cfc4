"""Fact 120: qemu-storage-daemon has no command that concerns a guest."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.steps.daemons import (
    daemon,  # noqa: F401 - a resource
    refusal,
)

LACKING = {
    *("query-status", "query-migrate", "query-name", "query-uuid", "query-cpus-fast"),
    *("stop", "cont", "migrate", "snapshot-save", "snapshot-load", "snapshot-delete"),
    *("getfd", "add-fd", "query-fdsets"),
}
KNOWN = {
    *("query-block", "query-blockstats", "query-named-block-nodes", "x-debug-query-block-graph"),
    *("query-block-exports", "query-jobs", "query-block-jobs"),
    *("transaction", "blockdev-add", "block-commit"),
}


@experiment()
def what_concerns_images_is_there(daemon):
    """And nothing else."""
    names = {each["name"] for each in daemon.qmp.execute("query-commands")}
    same(names & LACKING, set())
    holds(names >= KNOWN, "the commands about images")


@experiment()
@cases("command", ["query-status", "stop", "query-migrate"])
def what_concerns_a_guest_is_not_found(daemon, command):
    """As a command that no QEMU has."""
    same(refusal(daemon, command)[0], "CommandNotFound")


@experiment()
def there_is_no_machine(daemon):
    """QEMU's object model has none."""
    asked = {"path": "/machine", "property": "type"}
    same(refusal(daemon, "qom-get", asked)[0], "DeviceNotFound")


if __name__ == "__main__":
    run_by_hand(globals())
