"""The file that machine state of its own gets: how QEMU is told to write it, and under which names."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from attrs import field, frozen

from planner.model.libvirt_save import DESCRIPTOR_OF_A_SAVE, STREAM_BEGINS_BYTES
from planner.model.migration import Setting
from planner.model.request import Capture

__all__ = [
    "DESCRIPTOR_NAME",
    "Settings",
    "Stream",
    "Transport",
    "VmstateNode",
    "descriptor_set",
    "temporary_path",
]

DESCRIPTOR_NAME = "snapplan-stream"
"""By this name QEMU knows the descriptor that a stream is written to."""


class Transport(StrEnum):
    """How a stream gets into its file (fact 31)."""

    FILE = "file"
    """QEMU writes to a path: 8.2 and later."""
    DESCRIPTOR = "fd"
    """QEMU writes to a descriptor that is passed over the socket: up to 10."""
    DESCRIPTOR_SET = "fdset"
    """QEMU writes to a descriptor of a set (`add-fd`): 8.2 and later, whoever it runs as (fact 75)."""


@frozen
class Settings:
    """Migration capabilities and parameters: what a run needs, and what it finds and puts back.

    Attributes:
        capabilities: Name and value, those alone that are to differ from what is found.
        capabilities_before: The same names, as they were.
        parameters: Name and value, likewise.
        parameters_before: The same names, as they were.
        already_on: Capabilities that are needed and found on; they are left alone.
    """

    capabilities: tuple[tuple[str, bool], ...] = ()
    capabilities_before: tuple[tuple[str, bool], ...] = ()
    parameters: tuple[tuple[str, Setting], ...] = ()
    parameters_before: tuple[tuple[str, Setting], ...] = ()
    already_on: tuple[str, ...] = ()


@frozen
class StateFile:
    """A file that machine state of its own gets.

    Attributes:
        path: Where the file is in the end.
    """

    path: str

    @property
    def temporary(self) -> str:
        """Where the file is until it is complete."""
        return temporary_path(self.path)

    @property
    def descriptor_set(self) -> int:
        """The number of the set that its descriptor is put into: the same for the same file."""
        return descriptor_set(self.path)


@frozen
class Stream(StateFile):
    """Machine state in a file of its own.

    Attributes:
        capture: Which instant of the stream is the snapshot's.
        transport: How QEMU writes it.
        mapped: Whether each page has a fixed place in the file (`mapped-ram`).
        settings: What the VM's migration settings are to be meanwhile.
        give_up_after_s: After how many seconds an unfinished stream is given up.
        libvirt: Whether libvirt's header stands before it, so that `virsh restore` takes the file.
    """

    capture: Capture
    transport: Transport
    mapped: bool = False
    settings: Settings = field(factory=Settings)
    give_up_after_s: int = 1800
    libvirt: bool = False

    @property
    def descriptor_name(self) -> str:
        """By which name QEMU is passed its descriptor."""
        return DESCRIPTOR_OF_A_SAVE if self.libvirt else DESCRIPTOR_NAME

    @property
    def uri(self) -> str:
        """Where QEMU writes it to."""
        if self.transport is Transport.DESCRIPTOR:
            return f"fd:{self.descriptor_name}"
        in_set = self.transport is Transport.DESCRIPTOR_SET
        file = f"/dev/fdset/{self.descriptor_set}" if in_set else self.temporary
        return f"file:{file},offset={STREAM_BEGINS_BYTES}" if self.libvirt else f"file:{file}"


@frozen
class VmstateNode(StateFile):
    """Machine state in a qcow2 image that holds nothing else, on a node of its own.

    Attributes:
        node: Node name while QEMU writes to it.
    """

    node: str

    @property
    def filename(self) -> str:
        """By which name QEMU opens it: whoever QEMU runs as (fact 75)."""
        return f"/dev/fdset/{self.descriptor_set}"


def temporary_path(path: str) -> str:
    """The name, in the same folder, of a file that is not complete yet."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.snapplan"


def descriptor_set(path: str) -> int:
    """A set's number that nobody gives by hand, and that QEMU can read in a path: a C `int`."""
    digest = hashlib.sha256(path.encode()).digest()
    return 2**30 + int.from_bytes(digest[:4]) % 2**30
