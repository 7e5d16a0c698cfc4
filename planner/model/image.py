"""Images, as a running VM or qemu-img shows them: where the parts of a snapshot lie now.

A manifest says where a part was put; an `Image` says what is found there.  The same values come from
QMP and from files that no VM holds, so that one set of checks judges both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from attrs import evolve, frozen

from planner.errors import CannotConnect, Problem
from planner.model.answer import AnswerObject, answer_objects
from planner.model.facts import SnapshotInfo
from planner.model.image_file import FILTERS, FORMATS, file_of_image, stats_of_nodes
from planner.model.replies import snapshots_of_image

__all__ = ["Image", "bitmaps_of_nodes", "image_of_info", "images_of_nodes"]


@frozen
class Image:
    """One image.

    Attributes:
        file: Its file, as QEMU names it.
        format: QEMU's block driver.
        virtual_size_bytes: Size of the disk that a guest sees.
        snapshots: The internal snapshots that it holds.
        backing: The files under it, from the top down.
        active: Whether the guest writes to it; False where an overlay lies above it.
        bitmaps: Names of its dirty bitmaps, where they are known.
        node: Live name of its node in a VM; empty elsewhere.
    """

    file: str
    format: str
    virtual_size_bytes: int = 0
    snapshots: tuple[SnapshotInfo, ...] = ()
    backing: tuple[str, ...] = ()
    active: bool = True
    bitmaps: tuple[str, ...] = ()
    node: str = ""

    @cached_property
    def _by_tag(self) -> Mapping[str, tuple[SnapshotInfo, ...]]:
        # Thousands of manifests are compared with an image of thousands of snapshots.
        found: dict[str, list[SnapshotInfo]] = {}
        for snapshot in self.snapshots:
            found.setdefault(snapshot.name, []).append(snapshot)
        return {tag: tuple(held) for tag, held in found.items()}

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of its snapshots."""
        return frozenset(snapshot.id for snapshot in self.snapshots)

    def holding(self, tag: str) -> tuple[SnapshotInfo, ...]:
        """The snapshots of this tag."""
        return self._by_tag.get(tag, ())


def images_of_nodes(reply: object, blockstats: object = None) -> dict[str, Image]:
    """Every image that QEMU has open, by file.

    Args:
        reply: An answer to `query-named-block-nodes`.
        blockstats: One to `query-blockstats`: what lies below an image that is shown as options.

    Raises:
        CannotConnect: The answer is not in QMP's shape.
    """
    found: dict[str, Image] = {}
    stats = {} if blockstats is None else _stats(blockstats)
    nodes = {str(each.value.get("node-name")): each for each in _answers(reply)}
    for node in _nodes(reply):
        image = node.get("image")
        driver = node.get("drv")
        if driver in FILTERS or not isinstance(image, Mapping):
            continue
        made = _image(image)
        stat = stats.get(str(node.get("node-name", "")))
        if stat is not None:
            made = evolve(made, file=file_of_image(made.file, stat, nodes))
        # The protocol node under an image has its file name too, and knows nothing of its snapshots.
        if driver in FORMATS or made.file not in found:
            found[made.file] = evolve(made, node=str(node.get("node-name", "")))
    return found


def _answers(reply: object) -> list[AnswerObject]:
    return answer_objects(reply, "query-named-block-nodes")


def _stats(blockstats: object) -> dict[str, AnswerObject]:
    return stats_of_nodes(answer_objects(blockstats, "query-blockstats"))


def bitmaps_of_nodes(reply: object) -> dict[str, tuple[str, ...]]:
    """The names of the dirty bitmaps of each node in an answer to `query-named-block-nodes`."""
    found = {}
    for node in _nodes(reply):
        entries = node.get("dirty-bitmaps", [])
        if not isinstance(entries, list) or not all(isinstance(e, Mapping) for e in entries):
            raise _bad("query-named-block-nodes", "dirty-bitmaps is no list of objects")
        found[str(node.get("node-name"))] = tuple(str(e.get("name", "")) for e in entries)
    return found


def image_of_info(reply: object) -> Image:
    """An image, from ``qemu-img info --output=json``; under it lies what its header names.

    Raises:
        CannotConnect: The answer is not in qemu-img's shape.
    """
    if not isinstance(reply, Mapping):
        raise _bad("qemu-img info", "it is no object")
    top = _image(reply)
    named = reply.get("full-backing-filename", reply.get("backing-filename"))
    backing = (named,) if isinstance(named, str) else ()
    return Image(
        top.file,
        top.format,
        top.virtual_size_bytes,
        top.snapshots,
        backing,
        bitmaps=_kept_bitmaps(reply),
    )


def _nodes(reply: object) -> Sequence[Mapping[str, object]]:
    if not isinstance(reply, list) or not all(isinstance(node, Mapping) for node in reply):
        raise _bad("query-named-block-nodes", "it is no list of objects")
    return reply


def _image(info: Mapping[str, object]) -> Image:
    file, driver, size = info.get("filename"), info.get("format"), info.get("virtual-size")
    if not isinstance(file, str) or not isinstance(driver, str) or type(size) is not int:
        raise _bad("the image's information", "it lacks filename, format or virtual-size")
    return Image(file, driver, size, snapshots_of_image(info))


def _kept_bitmaps(info: Mapping[str, object]) -> tuple[str, ...]:
    specific = info.get("format-specific")
    data = specific.get("data") if isinstance(specific, Mapping) else None
    entries = data.get("bitmaps", []) if isinstance(data, Mapping) else []
    if not isinstance(entries, list):
        return ()
    return tuple(str(entry.get("name", "")) for entry in entries if isinstance(entry, Mapping))


def _bad(what: str, why: str) -> CannotConnect:
    problem = Problem("reply-malformed", what, why)
    return CannotConnect(
        f"the answer to {what} is not what was expected: {why}",
        problems=(problem,),
        code=problem.code,
    )
