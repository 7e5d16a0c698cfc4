"""Fact 75: a stream through a descriptor set."""

import contextlib
import os
from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.migration import set_capabilities, wait_migration
from backends.qemu_facts.lab.outcome import found, holds, missing, same
from backends.qemu_facts.lab.qemu import file_mode
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.user import NOBODY, as_nobody
from backends.qemu_facts.steps.descriptors import SET, add_fd

PATH = f"file:/dev/fdset/{SET}"


@contextlib.contextmanager
def private_file(vm, flags=os.O_WRONLY):
    """A new file, 0600, of the user that runs the tests; open."""
    path = vm.directory / "stream"
    descriptor = os.open(path, flags | os.O_CREAT, 0o600)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)


def as_another_user(qemu, **options):
    """A VM whose QEMU runs as nobody, and may make files beside its images."""
    return as_nobody(qemu, two_disks(**options))


@experiment(since=(8, 2))
def a_file_of_another_user_cannot_be_opened_by_its_path(qemu):
    """It is refused before the guest is stopped only if it is tried before."""
    vm = as_another_user(qemu)
    with private_file(vm) as (path, _descriptor):
        same(Path(f"/proc/{vm.process.pid}").stat().st_uid, NOBODY)
        words = vm.refusal("migrate", uri=f"file:{path}")
    found("Permission denied", words)


@experiment(since=(8, 2))
@cases("mapped", [False, True], ["stream", "mapped-ram"])
def by_a_set_it_is_written_and_read(qemu, mapped):
    """By a QEMU of another user, in both forms; owner and mode stay, and the set is taken back."""
    vm = as_another_user(qemu, guest=True)
    vm.wait_guest(1)
    names = ("mapped-ram",) if mapped else ()
    set_capabilities(vm, *names)
    vm.execute("stop")
    with private_file(vm) as (path, descriptor):
        add_fd(vm, descriptor)
        mark = vm.qmp.mark()
        vm.execute("migrate", uri=PATH)
        wait_migration(vm, "completed", since=mark)
    vm.execute("remove-fd", {"fdset-id": SET})
    vm.wait_until(lambda: vm.execute("query-fdsets") == [], "the set to go with its last user")
    same((file_mode(path), path.stat().st_uid), (0o600, os.geteuid()))
    vm.end()
    again = qemu.run(vm, vm.topology, "-S", "-incoming", "defer")
    set_capabilities(again, *names)
    with path.open("rb") as stream:
        add_fd(again, stream.fileno())
        again.execute("migrate-incoming", uri=PATH)
    again.wait_until(lambda: again.status() == "paused", "the stream read")
    again.execute("remove-fd", {"fdset-id": SET})
    again.execute("cont")
    again.wait_guest(2)
    missing("start", again.console())


@experiment(since=(8, 2))
def a_set_must_be_there_and_its_number_an_int(target):
    """Without the set, or with a number that no C `int` holds, nothing is written."""
    vm = target.start(two_disks())
    same(vm.refusal("migrate", uri=PATH), f"Failed to find fdset /dev/fdset/{SET}")
    long = f"/dev/fdset/{1 << 32}"
    same(vm.refusal("migrate", uri=f"file:{long}"), f"Could not parse fdset {long}")
    holds(vm.refusal("remove-fd", {"fdset-id": SET}).endswith(f"'fdset-id:{SET}' not found"))
    same(vm.refusal("add-fd"), "No file descriptor supplied via SCM_RIGHTS")


@experiment(since=(8, 2))
def only_a_descriptor_that_is_open_for_writing_only_will_do(qemu):
    """One that is open for reading too is passed over."""
    vm = qemu.start(two_disks())
    with private_file(vm, os.O_RDWR) as (_path, descriptor):
        add_fd(vm, descriptor)
        words = vm.refusal("migrate", uri=PATH)
    holds(words.startswith("Failed to find file descriptor with matching flags"))


@experiment(since=(8, 2))
def of_several_in_a_set_the_first_is_written_to(qemu, tmp_path):
    """Whoever adds to a set that is somebody else's writes over their file."""
    vm = qemu.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    with (tmp_path / "theirs").open("wb") as theirs, private_file(vm) as (path, descriptor):
        add_fd(vm, theirs.fileno())
        add_fd(vm, descriptor)
        (found,) = vm.execute("query-fdsets")
        same([found["fdset-id"], len(found["fds"])], [SET, 2])
        mark = vm.qmp.mark()
        vm.execute("migrate", uri=PATH)
        wait_migration(vm, "completed", since=mark)
    sizes = sorted([path.stat().st_size, (tmp_path / "theirs").stat().st_size])
    holds(sizes[0] == 0 < sizes[1], "one of the two, and nobody chose it")


if __name__ == "__main__":
    run_by_hand(globals())
