"""Streams of machine state, in the words that each QEMU knows.

QEMU 7.2 writes a stream to a file only through a shell (`exec:`) or a descriptor; `file:` came in
8.2, and the plain descriptor of a file went in 11.
"""

import shlex
from pathlib import Path

from backends.qemu_facts.lab.vm import Vm

__all__ = ["migrate_to", "migrated_pages", "set_capabilities", "stream_uri", "wait_migration"]

EXTERNAL_FILE_SINCE = (8, 2)


def stream_uri(vm: Vm, path: Path) -> str:
    """The URI with which this QEMU writes a stream to a file, or reads it from there."""
    return f"file:{path}" if vm.version >= EXTERNAL_FILE_SINCE else f"exec:cat > {_quoted(path)}"


def incoming_uri(vm: Vm, path: Path) -> str:
    """The URI with which this QEMU reads a stream from a file."""
    return f"file:{path}" if vm.version >= EXTERNAL_FILE_SINCE else f"exec:cat < {_quoted(path)}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def set_capabilities(vm: Vm, *names: str) -> None:
    """Switch migration capabilities on; `events` always, so that MIGRATION events come."""
    capabilities = [{"capability": name, "state": True} for name in ("events", *names)]
    vm.execute("migrate-set-capabilities", capabilities=capabilities)


def migrate_to(vm: Vm, path: Path) -> int:
    """Start to write the machine state to a file; returns the mark for `wait_migration`."""
    mark = vm.qmp.mark()
    vm.execute("migrate", uri=stream_uri(vm, path))
    return mark


def wait_migration(vm: Vm, status: str, *, since: int) -> None:
    """Wait for the MIGRATION event of a status."""
    vm.wait_event("MIGRATION", lambda data: data["status"] == status, since=since)


def migrated_pages(vm: Vm) -> int:
    """How many pages are in the stream: more than 0 only once memory is being written."""
    ram = vm.execute("query-migrate").get("ram", {})
    return ram.get("normal", 0) + ram.get("duplicate", 0)
