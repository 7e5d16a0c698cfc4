"""Files that QEMU was given by descriptor, called by their own names in QEMU's answers.

libvirt and whoever passes files to a confined QEMU put descriptors into sets (`add-fd`), and QEMU opens
`/dev/fdset/N` and says that.  Which file that is, its process shows: `query-fdsets` has the numbers of a
set's descriptors, and /proc/PID/fd what they are (fact 110).  A name that cannot be proved stays as it
is: all descriptors of the set must be of one file, the process must have that file open once more, as
the node has it that opened the set, and the file's name must mean it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from planner.errors import CannotConnect
from planner.host.places import place_of
from planner.model.answer import answer_objects
from planner.model.image_place import ImagePlace

__all__ = ["files_of_sets", "names_a_set"]

_SETS = "/dev/fdset/"
_PROC = Path("/proc")


def names_a_set(answer: object) -> bool:
    """Whether an answer of QEMU's names a descriptor set in the place of a file."""
    if isinstance(answer, str):
        return answer.startswith(_SETS)
    if isinstance(answer, dict):
        return any(names_a_set(each) for each in answer.values())
    return isinstance(answer, list) and any(names_a_set(each) for each in answer)


def files_of_sets(reply: object, pid: int | None) -> Callable[[str], str]:
    """What the names of descriptor sets mean, as far as QEMU's process proves it.

    Args:
        reply: QEMU's answer to `query-fdsets`.
        pid: The process at the other end; None: it cannot be known.

    Returns:
        A function from a name to the name of its file, or to itself.
    """
    try:
        files = dict(_files(reply, _PROC / str(pid) / "fd")) if pid else {}
    except (CannotConnect, OSError):
        files = {}  # another shape, another user's process, or none: nothing is proved
    return lambda name: files.get(name, name)


def _files(reply: object, opened: Path) -> Iterator[tuple[str, str]]:
    sets = {
        entry.number("fdset-id"): [each.number("fd") for each in entry.members("fds")]
        for entry in answer_objects(reply, "query-fdsets")
    }
    kept = {number for numbers in sets.values() for number in numbers}
    by_nodes = {_place(link) for link in opened.iterdir() if int(link.name) not in kept}
    for name, numbers in sets.items():
        links = [opened / str(number) for number in numbers]
        places = {_place(link) for link in links}
        if len(places) != 1 or not places <= by_nodes:
            continue
        [place] = places
        file = str(links[0].readlink())
        if place.known and place.is_same_file(place_of(file, born=False)):
            yield f"{_SETS}{name}", file


def _place(link: Path) -> ImagePlace:
    return place_of(str(link), born=False)
