"""Fact 31: how a stream gets into a file."""

import os

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import found, holds, same
from backends.qemu_facts.lab.qemu import file_mode
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def exec_makes_a_file_that_others_can_read(qemu):
    """A stream written through a shell gets the mode that the umask leaves, 0644 by default."""
    vm = qemu.start(two_disks(umask=0o022))
    set_capabilities(vm)
    path = vm.directory / "state"
    vm.execute("stop")
    mark = vm.qmp.mark()
    vm.execute("migrate", uri=f"exec:cat > {path}")
    wait_migration(vm, "completed", since=mark)
    same(file_mode(path), 0o644)


def migrate_to_descriptor(qemu):
    vm = qemu.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    path = vm.directory / "state"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        vm.pass_fd("stream", descriptor)
    finally:
        os.close(descriptor)
    return vm, path


@experiment()
def getfd_wants_a_descriptor_with_it(target, tmp_path):
    """A `getfd` without a descriptor is refused; with one its name is known until it is closed."""
    vm = target.start(two_disks())
    words = vm.refusal("getfd", fdname="stream")
    same(words, "No file descriptor supplied via SCM_RIGHTS")
    with (tmp_path / "stream").open("wb") as file:
        vm.pass_fd("stream", file.fileno())
    vm.execute("closefd", fdname="stream")
    found("not found", vm.refusal("closefd", fdname="stream"))


@experiment(since=(8, 2))
def channel_says_the_same_as_a_uri(target):
    """`channels` with one file is `file:`; both at once, or neither, are refused."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    path = str(vm.directory / "stream")
    addr = {"transport": "file", "filename": path, "offset": 0}
    channels = [{"channel-type": "main", "addr": addr}]
    for arguments in ({}, {"channels": []}, {"uri": f"file:{path}", "channels": channels}):
        words = vm.refusal("migrate", arguments)
        same(words, "need either 'uri' or 'channels' argument")
    mark = vm.qmp.mark()
    vm.execute("migrate", channels=channels)
    wait_migration(vm, "completed", since=mark)


@experiment(before=(11, 0))
def stream_goes_to_a_file_that_we_opened(qemu):
    """With getfd and `fd:` the file keeps the mode that we gave it."""
    vm, path = migrate_to_descriptor(qemu)
    mark = vm.qmp.mark()
    vm.execute("migrate", uri="fd:stream")
    wait_migration(vm, "completed", since=mark)
    same(file_mode(path), 0o600)
    holds(path.stat().st_size > 2**16)
    same("deprecated" in vm.stderr(), vm.version >= (10, 0))


@experiment(since=(11, 0))
def descriptor_of_a_file_is_refused(qemu):
    """QEMU 11 wants `file:` instead."""
    vm, _path = migrate_to_descriptor(qemu)
    words = vm.refusal("migrate", uri="fd:stream")
    same(words, "fd: migration to a file is not supported. Use file: instead.")


@experiment(since=(8, 2))
@cases("mode", [None, 0o640], ["new file", "existing file"])
def file_uri_makes_a_private_file_or_keeps_the_mode(qemu, mode):
    """A file made by `file:` is 0600 whatever the umask; one that exists stays as it is."""
    vm = qemu.start(two_disks(umask=0))
    set_capabilities(vm)
    vm.execute("stop")
    path = vm.directory / "state"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    wait_migration(vm, "completed", since=migrate_to(vm, path))
    same(file_mode(path), mode or 0o600)


@experiment(before=(8, 2))
def file_uri_is_unknown(target):
    """Before 8.2 there is no `file:`."""
    vm = target.start(two_disks())
    words = vm.refusal("migrate", uri=f"file:{vm.directory / 'state'}")
    holds("file:" in words or "uri" in words)


@experiment()
def arguments_of_migrate_differ(target):
    """`blk` and `inc` are gone by 10, `detach` by 11; `mapped-ram` came in 9.0."""
    vm = target.start(two_disks())
    schema = {entity["name"]: entity for entity in vm.execute("query-qmp-schema")}
    arguments = {m["name"] for m in schema[schema["migrate"]["arg-type"]]["members"]}
    same({"blk", "inc"} <= arguments, vm.version < (10, 0))
    same("detach" in arguments, vm.version < (11, 0))
    capabilities = vm.execute("query-migrate-capabilities")
    names = {capability["capability"] for capability in capabilities}
    same("mapped-ram" in names, vm.version >= (9, 0))


if __name__ == "__main__":
    run_by_hand(globals())
