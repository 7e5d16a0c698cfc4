"""Templates that are being made, in a VM's share of the store: ``<vm key>/makings/<token>.json``.

What is going to be made is written down before the first file is, and stays so until the manifest names
what was made, or all of it is gone again.  So whatever is killed, the files and the QEMU that it left
are known by name, and no other file is ever taken for one of them: each name has a random token in it.
The VM's lock is held by whoever makes one; whoever holds it and finds a record knows that its maker
died.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path

from attrs import frozen
from cattrs import Converter

from planner.errors import BadInput
from planner.host.files import make_folder, remove_file, write_whole
from planner.host.processes import Process
from planner.model.file_format import FileFormat
from planner.model.strict import strict_converter, write_with_hyphens
from planner.store.store import VmStore
from planner.store.store_files import read_stored, unreadable, unwritable

__all__ = [
    "MAKINGS",
    "Making",
    "forget_making",
    "give_up_template",
    "making_path",
    "makings_of",
    "write_making",
]

MAKINGS = "makings"
"""The folder of a VM's share that has the records."""


@frozen
class Making:
    """A template that is being made, or whose files are being removed.

    Attributes:
        tag: The snapshot's.
        token: What stands in the names of its files, and in no other name.
        files: Every file that it makes, by its name of the time and by the one that it gets in the end.
        socket: Where its QEMU listens, and nobody else.
        process: Its QEMU; None: none is started yet.
    """

    tag: str
    token: str
    files: tuple[str, ...]
    socket: str = ""
    process: Process | None = None

    def left_over(self, needed: Collection[str]) -> tuple[str, ...]:
        """Its files that no manifest names."""
        return tuple(file for file in self.files if file not in needed)


@cache
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (Process, Making):
        write_with_hyphens(converter, kind)
    return converter


_FILES = FileFormat(
    name="snapplan-making",
    version=1,
    kind=Making,
    converter=_converter,
    code="restore-malformed",
    unfit="is no record",
    remedy="it is written by `snapplan template` only",
)


def makings_of(vm: VmStore) -> tuple[Making, ...]:
    """What died while it was being made; the VM's lock is held.  A damaged record says nothing.

    Raises:
        BadInput: The folder cannot be read (``store-unreadable``).
    """
    folder = vm.folder / MAKINGS
    try:
        paths = sorted(each for each in folder.iterdir() if each.suffix == ".json")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise unreadable(folder, error) from error
    found = []
    for path in paths:
        try:
            found.append(_FILES.read(read_stored(path, "restore-malformed"), str(path)))
        except BadInput:
            continue
    return tuple(found)


def give_up_template(vm: VmStore, tag: str) -> None:
    """Write down that the template of a snapshot goes which another one of its tag replaces.

    Raises:
        BadInput: It cannot be written (``store-unwritable``).
    """
    try:
        before = vm.manifest(tag)
    except BadInput:
        return  # nobody can read what it had
    if before is not None and before.template is not None:
        template = before.template
        write_making(vm, Making(tag, f"drop-{template.made_ns}", template.own_files))


def making_path(vm: VmStore, making: Making) -> Path:
    """Where it is recorded."""
    return vm.folder / MAKINGS / f"{making.token}.json"


def write_making(vm: VmStore, making: Making) -> None:
    """Record it, whole or not at all.

    Raises:
        BadInput: It cannot be written (``store-unwritable``); what was there is still there.
    """
    path = making_path(vm, making)
    try:
        make_folder(path.parent)
        write_whole(path, json.dumps(_FILES.to_plain(making), indent=1) + "\n")
    except OSError as error:
        raise unwritable(path, error) from error


def forget_making(vm: VmStore, making: Making) -> None:
    """Forget it: nothing is left of it that no manifest names.

    Raises:
        BadInput: The record cannot be removed (``store-unwritable``).
    """
    path = making_path(vm, making)
    try:
        if path.parent.exists():
            remove_file(path)
    except OSError as error:
        raise unwritable(path, error) from error
