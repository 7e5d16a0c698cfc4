"""Which file an image is, where QEMU shows options in the place of a name.

QEMU calls an image by its file only where opening that file would make the same node again.  Where a
user said more (a key, a backing chain, a filter below the format), it shows ``json:{…}``, cut off after
4095 bytes.  The node below then still has the plain name (fact 70), and that is what is on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.model.answer import AnswerObject
from planner.model.text import json_object

__all__ = ["FILTERS", "FORMATS", "file_of_image", "stats_of_nodes", "with_below"]

FILTERS = frozenset(
    {
        "backup-top",
        "blkdebug",
        "blklogwrites",
        "blkreplay",
        "commit_top",
        "compress",
        "copy-before-write",
        "copy-on-read",
        "mirror_top",
        "preallocate",
        "throttle",
    }
)
"""Block drivers that hold no data of their own and pass everything to the one node below."""

FORMATS = frozenset(
    {
        *("bochs", "cloop", "dmg", "luks", "parallels", "qcow", "qcow2"),
        *("qed", "raw", "vdi", "vhdx", "vmdk", "vpc"),
    }
)
"""Block drivers of a format: what lies below such a node is the file that it is kept in."""

_OPTIONS = "json:"
_PLAIN_RAW = frozenset({"driver", "file"})


def file_of_image(shown: str, stat: AnswerObject, nodes: Mapping[str, AnswerObject]) -> str:
    """The file of an image: what QEMU shows, or where that is options, the name below its format.

    Args:
        shown: What QEMU shows as the image's name.
        stat: The image's node in `query-blockstats`, with what lies below it.
        nodes: Every node of `query-named-block-nodes`, by name.

    Returns:
        What QEMU shows, where no single file lies below it, or only a piece of one does.
    """
    image = nodes.get(stat.text("node-name", ""))
    if not shown.startswith(_OPTIONS) or image is None:
        return shown
    driver = image.text("drv")
    if driver not in FORMATS or (driver == "raw" and not _is_whole(shown)):
        return shown
    below = stat.member("parent")
    while below.value:
        node = nodes.get(below.text("node-name", ""))
        if node is None:
            return shown
        if node.text("drv") not in FILTERS:
            name = node.member("image").text("filename", "")
            plain = node.text("drv") not in FORMATS and name and not name.startswith(_OPTIONS)
            return name if plain and not below.member("parent").value else shown
        below = below.member("parent")
    return shown


def _is_whole(shown: str) -> bool:
    """Whether a raw image is all of its file: with an offset or a size it is a piece of it."""
    options = json_object(shown.removeprefix(_OPTIONS))
    return options is not None and set(options) <= _PLAIN_RAW


def stats_of_nodes(stats: list[AnswerObject]) -> dict[str, AnswerObject]:
    """Every node of an answer to `query-blockstats`, by name, with what lies below it."""
    return {node.text("node-name", ""): node for stat in stats for node in with_below(stat)}


def with_below(stat: AnswerObject) -> Iterator[AnswerObject]:
    """An entry of an answer to `query-blockstats`, then every node below it."""
    todo = [stat]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(node.member(key) for key in ("parent", "backing") if key in node.value)
