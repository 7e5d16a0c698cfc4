"""What the commands share: options, files, and how an error is told."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from planner.cli import waiting_line
from planner.cli.stopping import cancelled_once
from planner.errors import CannotConnect, InternalError, SnapplanError
from planner.host.input import read_text_file, text_of
from planner.host.output import STDERR, STDOUT, descriptor_of, write_output
from planner.model.facts import Facts
from planner.model.facts_text import read_facts
from planner.present.words import error_text, error_to_plain
from planner.run.ports import Backend
from planner.run.pump import ask_facts
from planner.store.finding import find_backend
from planner.store.store import Store, default_root

__all__ = [
    "connected",
    "facts_option",
    "gather_facts",
    "json_option",
    "print_json",
    "read_file",
    "report_error",
    "run",
    "store_option",
    "vm_option",
    "write_file",
]

_Result = TypeVar("_Result")

_BACKEND = "snapplan.backend"
_MOVED = "snapplan.moved"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _choose_backend(context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name:
        find_backend("", name)  # one that is not there, or there twice, is refused by its name
    context.meta[_BACKEND] = name
    return name


def _address(context: click.Context, _parameter: click.Parameter, vm: str | None) -> str | None:
    """An address as it is spelled with its backend's name: `NAME:ADDR`."""
    name = context.meta.get(_BACKEND)
    return f"{name}:{vm}" if vm and name else vm


def vm_option(command: _Command) -> _Command:
    """Options `--vm` and `--backend`; the command is given both as one address."""
    vm = click.option(
        "--vm",
        "vm",
        metavar="ADDR",
        callback=_address,
        help="QMP socket of the VM: a unix socket's path or host:port. It must be snapplan's own: QEMU "
        "serves one client a socket. NAME:ADDR is an address of another backend.",
    )
    backend = click.option(
        "--backend",
        metavar="NAME",
        default="",
        is_eager=True,
        expose_value=False,
        callback=_choose_backend,
        help="What --vm is an address for, where it is not QEMU: a backend that another package adds.",
    )
    return vm(backend(command))


facts_option = click.option(
    "--facts",
    "facts_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="A facts file (from `inspect --facts-out`) in place of a VM.",
)


def _moved(
    context: click.Context, _parameter: click.Parameter, told: tuple[str, ...]
) -> tuple[str, ...]:
    pairs = []
    for text in told:
        old, equals, new = text.partition("=/")
        if not (equals and old.startswith("/")):
            raise click.BadParameter(f"{text!r} is no OLD=NEW of two absolute paths")
        pairs.append((old, f"/{new}"))
    context.meta[_MOVED] = tuple(pairs)
    return told


def _store(context: click.Context, _parameter: click.Parameter, folder: str | None) -> Store:
    root = Path(folder) if folder else default_root()
    return Store(root, context.meta.get(_MOVED, ()))


def store_option(command: _Command) -> _Command:
    """Options `--store` and `--moved`; the command is given both as one store."""
    store = click.option(
        "--store",
        "store",
        metavar="DIR",
        envvar="SNAPPLAN_STORE",
        type=click.Path(file_okay=False),
        callback=_store,
        help="Where manifests and journals are kept; else $SNAPPLAN_STORE, else the user's state "
        "folder.",
    )
    moved = click.option(
        "--moved",
        metavar="OLD=NEW",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_moved,
        help="A folder of images, or a file, that was recorded as OLD is NEW now: it was moved, or QEMU "
        "sees it under another name. Both absolute; once for each.",
    )
    return store(moved(command))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def report_error(error: Exception, *, as_json: bool) -> int:
    """Tell an error once: for a person on stderr, for a program as JSON on stdout."""
    if not isinstance(error, SnapplanError):
        trace = "".join(traceback.format_exception(error))
        click.echo(f"{trace}snapplan: this is a bug in snapplan; please report it", err=True)
        error = InternalError(f"{type(error).__name__}: {error}")
    if as_json:
        print_json(error_to_plain(error))
    said = error_text(error)
    click.echo(said, err=True)
    if cited := _facts_cited(said):
        click.echo(f"  About QEMU: snapplan help fact {' '.join(cited)}", err=True)
    return error.exit_code


def _facts_cited(text: str) -> list[str]:
    """The numbers of the facts that a message cites, in their order."""
    cited = re.findall(r"\bfacts? (\d+)(?:(?:, | and )(\d+))*", text)
    return sorted({number for found in cited for number in found if number}, key=int)


def print_json(value: object) -> None:
    """Print plain values as JSON on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def read_file(path: str) -> str:
    """Read a text file, or stdin for ``-``; see `planner.host.input`."""
    if path != "-":
        return read_text_file(path)
    with waiting_line.held() if sys.stdin.isatty() else nullcontext():  # somebody types it
        return text_of(sys.stdin.buffer, path)


def write_file(path: str, text: str) -> bool:
    """Write a file that the command line names, as `planner.host.output` does.

    Returns:
        Whether that was standard output, which then holds this and nothing else.

    Raises:
        BadInput: It cannot be written; a regular file that was there before is untouched.
    """
    where = descriptor_of(path)
    if where not in (STDOUT, STDERR):
        write_output(path, text)
        return False
    click.echo(text, nl=False, err=where == STDERR)
    return where == STDOUT


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run asynchronous work to its end.

    Raises:
        click.Abort: Ctrl-C cancelled it.
    """
    return asyncio.run(cancelled_once(work))


async def connected(address: str, use: Callable[[Backend], Awaitable[_Result]]) -> _Result:
    """Connect, use the connection, and end it whatever happens."""
    connect, place = find_backend(address)
    link = await connect(place)
    try:
        return await use(link)
    finally:
        await link.close()


def gather_facts(vm: str | None, facts_file: str | None) -> Facts:
    """The facts of a VM, or from a file.

    Raises:
        BadInput: Neither is given, or both, or the file is malformed.
        CannotConnect: The VM does not answer.
    """
    if (vm is None) == (facts_file is None):
        raise click.UsageError("give either --vm ADDR or --facts FILE")
    if facts_file is not None:
        return read_facts(read_file(facts_file), facts_file)
    if not vm:
        raise CannotConnect("no address is given")
    return run(connected(vm, ask_facts))
