"""What is behind `snapplan simulate`: serve the VM of some facts until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from backends.simulator.faults import FaultRule
from backends.simulator.server import Simulator
from backends.simulator.vm import Message
from planner.model.facts import Facts
from planner.semantics import VmState, state_from_facts

__all__ = ["serve"]


async def serve(  # noqa: PLR0913 - one per option of the command
    facts: Facts | VmState,
    address: str | Sequence[str],
    *,
    qemu: str | None = None,
    faults: tuple[FaultRule, ...] = (),
    seed: int = 0,
    modelled_only: bool = False,
    log: Callable[[Message], None] | None = None,
    ready: Callable[[str], None] | None = None,
    until: asyncio.Event | None = None,
) -> VmState:
    """Serve a simulated QEMU until it quits or dies, or until it is told to stop.

    Args:
        facts: The VM, as facts or as a state.
        address: A unix socket's path, or ``host:port``; or several, all of one VM.
        qemu: Which QEMU it shall be: "7.2", "10.0", "11.1"; None for the one in the facts.
        faults: Fault rules (`load_faults`).
        seed: Decides everything that QEMU leaves open.
        modelled_only: `query-commands` lists what is modelled only.
        log: Given each command that was received, with its answer.
        ready: Called with the address once clients can connect; of several, with each.
        until: Ends the service when it is set.

    Returns:
        What the VM was at the end.

    Raises:
        BadInput: The address cannot be used, or the version is not modelled.
    """
    state = facts if isinstance(facts, VmState) else state_from_facts(facts, version=qemu)
    stop = until or asyncio.Event()
    places = (address,) if isinstance(address, str) else tuple(address)
    async with Simulator(
        state, faults=faults, seed=seed, modelled_only=modelled_only, log=log
    ) as simulator:
        for told in [_listen(simulator, place) for place in places]:
            if ready is not None:
                ready(told)
        ends = {asyncio.ensure_future(event.wait()) for event in (stop, simulator.died)}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        return simulator.vm.state


def _listen(simulator: Simulator, address: str) -> str:
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in address and not Path(address).exists():
        bound = simulator.listen_tcp(host or "127.0.0.1", int(port))
        return f"{bound[0]}:{bound[1]}"
    return str(simulator.listen(address))
