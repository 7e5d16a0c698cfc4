"""Takes templates away: whole ones, and what somebody who died left of one that was being made.

The manifest forgets a template before the first file of it goes, and the record of what is to go is
there before that: whoever dies in between leaves a record, which the next one works off.  The VM's lock
is held.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from attrs import evolve

from planner.errors import Problem, Refused, in_order
from planner.host.ending import end_listener, end_process, remove_socket_folder
from planner.host.input import read_text_file
from planner.host.processes import open_files
from planner.parts.manifest_text import read_manifest
from planner.parts.template import Template
from planner.run.ports import Host
from planner.store.makings import Making, forget_making, makings_of, write_making
from planner.store.restores import known_restores
from planner.store.store import Store, VmStore
from planner.template.making import take_away

__all__ = ["check_unused", "clear_makings", "drop_files", "use_problems"]


def check_unused(tag: str, template: Template, store: Store) -> None:
    """Refuse to take a template away that somebody needs.

    Raises:
        Refused: See `use_problems` (``template-in-use``).
    """
    problems = use_problems(template, store)
    if problems:
        message = f"the template of {tag!r} is in use"
        raise Refused(message, problems=problems, code="template-in-use")


def use_problems(template: Template, store: Store) -> tuple[Problem, ...]:
    """Who needs a template's own files: a QEMU that has one open, or a restore whose disk lies on one.

    The memory alone would not be missed, a file that is mapped stays till its last user ends; a copied
    disk under a restore would be.
    """
    return in_order(_uses(template, store))


def _uses(template: Template, store: Store) -> Iterator[Problem]:
    for pid, file in open_files(template.own_files).users.items():
        words = f"{file} is open in process {pid}"
        yield Problem(
            "template-in-use", file, words, "end what was started from the template first"
        )
    yield from _lying_on(template.own_files, store)


def _lying_on(own: Collection[str], store: Store) -> Iterator[Problem]:
    for vm in store.vms():
        for known in known_restores(vm):
            lying = [each for each in known.restore.files if each.base in own and each.overlay]
            for made in (each for each in lying if each.file in known.there):
                words = f"{made.file}, of restore {known.restore.name!r}, lies on {made.base}"
                remedy = "drop that restore first: `snapplan restore drop`"
                yield Problem("template-in-use", made.base, words, remedy)


async def drop_files(vm: VmStore, tag: str, template: Template, host: Host) -> tuple[Problem, ...]:
    """Forget a snapshot's template, and remove its own files.

    Args:
        vm: The VM's share of the store, locked.
        tag: The snapshot's.
        template: Its template, nobody's by now (`use_problems`).
        host: Where the files are.

    Returns:
        Which files are left, each with why; `gc` removes them.

    Raises:
        BadInput: The store cannot be written (``store-unwritable``); nothing was removed.
    """
    making = Making(tag, f"drop-{template.made_ns}", template.own_files)
    write_making(vm, making)
    path = vm.manifest_path(tag)
    vm.write(evolve(read_manifest(read_text_file(str(path)), str(path)), template=None))
    left = await take_away(making.files, host)
    if not left:
        forget_making(vm, making)
    return left


async def clear_makings(vm: VmStore, host: Host | None) -> tuple[Problem, ...]:
    """Take away what is left of templates whose maker died; its QEMU, which has never run, is ended.

    A copied disk that a restore still lies on stays, and is looked at the next time.

    Returns:
        Which files are left, each with why.
    """
    left: list[Problem] = []
    if host is None:
        return ()
    for making in makings_of(vm):
        if making.process is not None:
            end_process(making.process)
        elif making.socket:
            end_listener(making.socket)
        remove_socket_folder(making.socket)
        manifests = vm.manifests()
        if manifests.problems:
            continue  # one that cannot be read may need the files
        needed = {file for each in manifests.found for file in each.template_files}
        lying = {each.subject: each for each in _lying_on(making.files, Store(vm.folder.parent))}
        files = [file for file in making.left_over(needed) if file not in lying]
        found = (*lying.values(), *await take_away(tuple(files), host))
        left += found
        if not found:
            forget_making(vm, making)
    return tuple(left)
