"""Whose name a node has: a user's lasts; QEMU's, libvirt's and snapplan's own tell something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

__all__ = [
    "AUTOMATIC_NODE_PREFIX",
    "OVERLAY_NODE_PREFIX",
    "SHOWN_LIBVIRT_PREFIX",
    "LIBVIRT_JOB",
    "TAGS_KEY",
    "LOST_KEY",
    "TARGET_KEY",
    "Chain",
    "chain_of",
    "is_libvirts",
    "is_made_up",
]

AUTOMATIC_NODE_PREFIX = "#"
"""QEMU starts the node names that it makes up with this; a user's name starts with a letter."""

OVERLAY_NODE_PREFIX = "snapplan-"
"""Nodes of overlays that snapplan made start with this: the disk keeps the name that it had before."""


class Chain(StrEnum):
    """Who keeps account of a disk's chain of images, and has to know of each overlay on it."""

    QEMU = ""
    """QEMU alone."""
    BEHIND_LIBVIRT = "behind-libvirt"
    """libvirt, and the VM was not reached through it: an overlay would be lost (fact 132)."""
    LIBVIRT = "libvirt"
    """libvirt, and the VM was reached through it: it is told of each overlay."""


LOST_KEY = "snapplan-lost-name"
"""In an answer about a node, the relative name by which QEMU would not find its file again (fact 71)."""

TARGET_KEY = "libvirt-target"
"""In an entry of `query-block` through libvirt: what it calls the disk (``vda``)."""
TAGS_KEY = "libvirt-snapshots"
"""In the answer to `query-name` through libvirt: the snapshots that it keeps account of."""
LIBVIRT_JOB = "libvirt"
"""The type, in `query-jobs` through libvirt, of a job that libvirt runs on the domain."""

SHOWN_LIBVIRT_PREFIX = AUTOMATIC_NODE_PREFIX
"""Before libvirt's name of a node, where the VM was reached through libvirt (`backends.domain`)."""

_LIBVIRTS_NODE = re.compile(r"libvirt-(?:\d+|pflash\d)-[a-z]+")
"""libvirt counts its nodes, and counts anew when a disk comes or goes, or an overlay (fact 131); those
of the firmware and of its variables have one name each."""


def is_made_up(node: str) -> bool:
    """Whether a node's name lasts only for now: QEMU made it up, or libvirt did."""
    return node.startswith(AUTOMATIC_NODE_PREFIX) or is_libvirts(node)


def is_libvirts(node: str) -> bool:
    """Whether libvirt gave a node its name, and so keeps account of it."""
    return _LIBVIRTS_NODE.fullmatch(node) is not None


def chain_of(nodes: Iterable[str]) -> Chain:
    """Who keeps account of a disk with these nodes."""
    for node in nodes:
        if is_libvirts(node):
            return Chain.BEHIND_LIBVIRT
        if node.startswith(SHOWN_LIBVIRT_PREFIX) and is_libvirts(node[1:]):
            return Chain.LIBVIRT
    return Chain.QEMU
