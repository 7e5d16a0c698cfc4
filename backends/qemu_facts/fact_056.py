"""Fact 56: a stream read without a shell."""

import os

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.steps.migration import migrated


@experiment()
def stream_read_without_a_shell_leaves_a_paused_guest(qemu):
    """`-S -incoming defer`, then file:, or before 8.2 a descriptor; nodes stay inactive until cont."""
    vm = migrated(qemu, guest=True)
    path = vm.directory / "state"
    vm.end()
    again = qemu.run(vm, vm.topology, "-S", "-incoming", "defer")
    same(again.status(), "inmigrate")
    if again.version >= (8, 2):
        again.execute("migrate-incoming", uri=f"file:{path}")
    else:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            again.pass_fd("stream", descriptor)
        finally:
            os.close(descriptor)
        again.execute("migrate-incoming", uri="fd:stream")
    again.wait_until(lambda: again.status() != "inmigrate", "the stream to be read")
    same(again.status(), "paused")
    shown = {node.get("active") for node in again.nodes().values()}
    same(shown, {False} if again.version >= (10, 0) else {None})
    again.execute("cont")
    holds({node.get("active") for node in again.nodes().values()} <= {True, None})
    again.wait_guest(2)


if __name__ == "__main__":
    run_by_hand(globals())
