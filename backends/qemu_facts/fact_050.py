"""Fact 50: a QMP socket serves one client."""

import socket

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, raises
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def second_client_waits_without_a_greeting(qemu):
    """A QMP socket serves one client; the next one connects, hears nothing, and is not refused."""
    vm = qemu.start(two_disks())
    with socket.socket(socket.AF_UNIX) as second:
        second.settimeout(0.2)
        second.connect(str(vm.qmp.path))
        with raises(TimeoutError):
            second.recv(1)
        vm.qmp.close()
        second.settimeout(30)
        found(b"QMP", second.recv(4096))


if __name__ == "__main__":
    run_by_hand(globals())
