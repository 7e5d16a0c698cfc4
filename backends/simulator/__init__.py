"""A QEMU that is not there: the semantics behind a real QMP socket, with fault rules.

For tests, demonstrations and other tools' CI.  `Simulator` serves sockets, `SimulatedVm` is the same
VM in process, `serve` is what `snapplan simulate` runs.  What it does not do as QEMU does is listed
in `specs/simulator.md`.

    async with Simulator(vm_state("7.2", ["disk0", "disk1"]), seed=7) as simulator:
        simulator.listen("/run/user/1000/vm.qmp")
        ...
"""

from backends.simulator.faults import Fault, FaultRule, FaultSet, load_faults, parse_faults
from backends.simulator.serve import serve
from backends.simulator.server import Simulator
from backends.simulator.vm import CommandFailed, Delivery, SimulatedVm, VmUnreachable

__all__ = [
    "CommandFailed",
    "Delivery",
    "Fault",
    "FaultRule",
    "FaultSet",
    "SimulatedVm",
    "Simulator",
    "VmUnreachable",
    "load_faults",
    "parse_faults",
    "serve",
]
