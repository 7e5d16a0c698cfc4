"""`snapplan simulate`: a QEMU that is not there, for any QMP client."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from backends.simulator import FaultRule, load_faults, serve
from planner.cli.common import read_file, run
from planner.model.facts import Facts
from planner.model.facts_text import read_facts

__all__ = ["command"]


@click.command("simulate")
@click.option(
    "--facts",
    "facts_file",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False),
    help="The VM to imitate (from `inspect --facts-out`).",
)
@click.option(
    "--socket",
    "address",
    metavar="PATH",
    required=True,
    help="Where to listen: a unix socket's path, or host:port.",
)
@click.option(
    "--qemu",
    "version",
    type=click.Choice(["7.2", "10.0", "11.1"]),
    help="The QEMU to imitate; by default that of the facts.",
)
@click.option("--faults", metavar="FILE", type=click.Path(dir_okay=False), help="Fault rules.")
@click.option("--seed", default=0, show_default=True, help="What chance decides follows from it.")
def command(
    *,
    facts_file: str,
    address: str,
    version: str | None,
    faults: str | None,
    seed: int,
) -> None:
    """Serve a simulated QEMU over QMP until it quits or you press Ctrl-C.

    It takes the commands of the snapshot designs, keeps its VM over reconnects, and does as real QEMU
    does, its surprises included; `snapplan help simulator` says where it does not.
    """
    facts = read_facts(read_file(facts_file), facts_file)
    rules = load_faults(Path(faults)) if faults is not None else ()
    run(_serve(facts, address, version, rules, seed))


async def _serve(
    facts: Facts, address: str, version: str | None, rules: tuple[FaultRule, ...], seed: int
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(
        facts,
        address,
        qemu=version,
        faults=rules,
        seed=seed,
        ready=lambda told: click.echo(f"listening on {told}", err=True),
        until=stop,
    )
