"""`snapplan simulate`: a QEMU that is not there, for any QMP client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from backends.simulator import load_faults, serve
from planner.cli import waiting_line
from planner.cli.common import read_file, run
from planner.errors import BadInput, Problem
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
    "addresses",
    metavar="PATH",
    required=True,
    multiple=True,
    help="Where to listen: a unix socket's path, or host:port; again for more sockets of the VM.",
)
@click.option(
    "--qemu",
    "version",
    type=click.Choice(["7.2", "10.0", "11.1"]),
    help="The QEMU to imitate; by default that of the facts.",
)
@click.option("--faults", metavar="FILE", type=click.Path(dir_okay=False), help="Fault rules.")
@click.option("--seed", default=0, show_default=True, help="What chance decides follows from it.")
@click.option(
    "--log",
    "log_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write what is received, and what is answered, to this new file: a JSON object a line.",
)
@click.option(
    "--modelled-only",
    is_flag=True,
    help="query-commands lists what is modelled, not all that this QEMU has.",
)
def command(  # noqa: PLR0913 - one parameter an option
    *,
    facts_file: str,
    addresses: tuple[str, ...],
    version: str | None,
    faults: str | None,
    seed: int,
    log_file: str | None,
    modelled_only: bool,
) -> None:
    """Serve a simulated QEMU over QMP until it quits or you press Ctrl-C.

    It takes the commands of the snapshot designs, keeps its VM over reconnects, and does as real QEMU
    does, its surprises included; `snapplan help simulator` says where it does not.
    """
    facts = read_facts(read_file(facts_file), facts_file)
    rules = load_faults(Path(faults)) if faults is not None else ()
    with contextlib.ExitStack() as after:
        log = after.enter_context(_log(log_file)) if log_file is not None else None
        service = partial(
            serve,
            *(facts, addresses),
            qemu=version,
            faults=rules,
            seed=seed,
            modelled_only=modelled_only,
            log=log,
        )
        with waiting_line.held():
            run(_serve(service))


@contextlib.contextmanager
def _log(path: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write entries to a new file, 0600, each at once.

    Raises:
        BadInput: It cannot be made, or is there.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    except OSError as error:
        problem = Problem("file-unwritable", path, error.strerror or str(error), "name a new file")
        raise BadInput(problem.words, problems=(problem,), code=problem.code) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:

        def write(entry: dict[str, Any]) -> None:
            file.write(json.dumps(entry) + "\n")
            file.flush()

        yield write


async def _serve(service: Callable[..., Awaitable[object]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await service(ready=lambda told: click.echo(f"listening on {told}", err=True), until=stop)
