"""A store, or a VM's snapshots, as one HTML page: a tree with parts, sizes and standing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import frozen

from planner.errors import Problem
from planner.present.markup import Markup, element, page, together
from planner.present.shown_snapshot import ShownPart, ShownSnapshot, forest
from planner.present.words import bytes_text

__all__ = ["PageVm", "store_page"]

_DEEPEST = 24
"""From here on a snapshot is indented no further."""


@frozen
class PageVm:
    """One VM of a page.

    Attributes:
        called: What it is called.
        about: What else is known of it, a clause each.
        snapshots: Its snapshots.
        problems: Files of the store that are no manifests, and the like.
        notes: What could not be looked at, or is unfinished, a sentence each.
    """

    called: str
    about: tuple[str, ...]
    snapshots: tuple[ShownSnapshot, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def store_page(title: str, vms: Sequence[PageVm], sizes: Mapping[str, int]) -> str:
    """The page.

    Args:
        title: What it is of.
        vms: In order.
        sizes: By file, what it takes on the disk, in bytes; one that is not in it was not seen.
    """
    count = sum(len(vm.snapshots) for vm in vms)
    head = element("p", f"{count} {'snapshot' if count == 1 else 'snapshots'}, {len(vms)} "
                   f"{'VM' if len(vms) == 1 else 'VMs'}", class_="soft")  # fmt: skip
    return page(title, head, *(_vm(vm, sizes) for vm in vms))


def _vm(vm: PageVm, sizes: Mapping[str, int]) -> Markup:
    head = element("h2", vm.called)
    about = element("p", ", ".join(vm.about), class_="soft") if vm.about else together()
    notes = [element("p", note, class_="soft") for note in vm.notes]
    notes += [element("p", f"not read: {problem}", class_="finding") for problem in vm.problems]
    shown = [_snapshot(depth, each, sizes) for depth, each in forest(vm.snapshots)]
    return element("section", head, about, *notes, *(shown or [element("p", "no snapshots")]))


def _snapshot(depth: int, each: ShownSnapshot, sizes: Mapping[str, int]) -> Markup:
    marks = [element("span", each.standing, class_=f"mark {each.standing}")]
    marks += [element("span", mark, class_="mark") for mark in each.marks]
    if each.current:
        marks.append(element("span", "the VM runs on this", class_="mark yes"))
    after = f"after {each.parent}" if each.parent else "after none"
    facts = ", ".join(filter(None, (each.taken, each.state, after)))
    text = [element("p", each.description, class_="text")] if each.description else []
    return element(
        "article",
        element("h3", each.tag, *marks),
        element("p", facts, class_="soft"),
        *text,
        _parts(each.parts, sizes),
        *(element("p", finding, class_="finding") for finding in each.findings),
        class_="snapshot current" if each.current else "snapshot",
        style=f"margin-left: {min(depth, _DEEPEST) * 1.5:g}rem",
    )


def _parts(parts: Iterable[ShownPart], sizes: Mapping[str, int]) -> Markup:
    rows = list(_rows(parts, sizes))
    if not rows:
        return together()
    heads = ("Disk", "Part", "File", "The file takes", "Machine state", "")
    head = element("tr", *(element("th", each) for each in heads))
    return element("div", element("table", head, *rows), class_="wide")


def _rows(parts: Iterable[ShownPart], sizes: Mapping[str, int]) -> Iterator[Markup]:
    for part in parts:
        size = bytes_text(sizes[part.file]) if part.file in sizes else "not seen"
        state = bytes_text(part.state_bytes) if part.state_bytes else "-"
        cells = [element("td", each) for each in (part.disk or "-", part.kind)]
        cells.append(element("td", part.file, class_="path"))
        cells += [element("td", each) for each in (size, state, part.note)]
        yield element("tr", *cells)
