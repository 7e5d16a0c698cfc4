"""libvirt's header before a stream: from what stands in it `virsh restore` starts the domain."""

from __future__ import annotations

import os

from backends.domain.link import Link
from planner.model.libvirt_save import NotASave, begun
from planner.run.ports import CommandRefused

__all__ = ["begin_save"]


def begin_save(link: Link, descriptor: int) -> None:
    """Write the header into an empty file; what QEMU writes through the descriptor comes behind it.

    Raises:
        CommandRefused: It cannot be written; also as `Link.ask`.
    """
    status = link.ask("query-status", {}, ())
    running = isinstance(status, dict) and status.get("running") is True
    described, cookie = link.description()
    try:
        header = memoryview(begun(described, cookie, running=running))
        while header:
            header = header[os.write(descriptor, header) :]
    except (NotASave, OSError) as error:
        raise CommandRefused("libvirt", f"the header of the save file: {error}") from error
