"""A storage daemon for an experiment, a QEMU that is its client, and actions of its transactions."""

import contextlib

from backends.qemu_facts.lab.daemon import storage_daemon
from backends.qemu_facts.lab.experiment import new_folder, resource
from backends.qemu_facts.lab.outside import SHARED_MEMORY
from backends.qemu_facts.lab.qmp import QmpError
from backends.qemu_facts.lab.topology import DiskSpec, Topology


@resource()
def daemon():
    """One that runs, and serves its disks by NBD."""
    with new_folder() as directory, storage_daemon(directory) as running:
        yield running


@resource()
def serving():
    """One that serves one of its disks by vhost-user-blk."""
    with new_folder() as directory, storage_daemon(directory, vhost=("disk1",)) as running:
        yield running


@resource()
def client(qemu, serving):
    """A QEMU with a disk of the daemon's by vhost-user-blk, and one by NBD."""
    nbd = f"server.type=unix,server.path={serving.nbd_path},export=data"
    extra = (
        *SHARED_MEMORY,
        *("-chardev", f"socket,id=served,path={serving.vhost_path('disk1')}"),
        *("-device", "vhost-user-blk-pci,chardev=served,id=vud0"),
        *("-blockdev", f"driver=nbd,node-name=remote,{nbd}"),
    )
    with contextlib.closing(qemu):
        yield qemu.start(Topology((DiskSpec("disk0"),), extra_args=extra))


def internal(device, tag):
    """The action that takes an internal snapshot."""
    data = {"device": device, "name": tag}
    return {"type": "blockdev-snapshot-internal-sync", "data": data}


def refusal(daemon, command, arguments=None):
    """How it refuses a command: the class, and the words."""
    try:
        reply = daemon.qmp.execute(command, arguments)
    except QmpError as error:
        return error.error_class, error.desc
    raise AssertionError(f"{command} was accepted: {reply}")
