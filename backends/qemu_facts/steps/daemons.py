"""A storage daemon for an experiment, and actions of its transactions."""

from backends.qemu_facts.lab.daemon import storage_daemon
from backends.qemu_facts.lab.experiment import resource
from backends.qemu_facts.lab.qmp import QmpError


@resource()
def daemon():
    """One that runs."""
    with storage_daemon() as running:
        yield running


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
