"""`snapplan design page`: a design as something to send: a page, QAPI, and a test."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    read_file,
    vm_option,
    write_file,
)
from planner.cli.progress_line import ProgressLine
from planner.errors import BadInput, Problem
from planner.explore.acts import ClientDeath
from planner.explore.design_text import VERDICTS
from planner.explore.search import Search
from planner.explore.spelling import proposals_of
from planner.explore.trying import trying
from planner.model.request_text import read_request
from planner.present.proposal_iotest import iotest_text
from planner.present.proposal_page import Judged, page_text, page_to_plain
from planner.present.proposal_qapi import file_name, qapi_text
from planner.verbs.design_files import find_design
from planner.verbs.exploring import Strikes, Task, task_of_design

__all__ = ["page"]

_STRIKES = {
    "none": Strikes(0, other_clients=False, client_death=ClientDeath.NEVER),
    "one": Strikes(1, other_clients=False, client_death=ClientDeath.NEVER),
    "two": Strikes(2, other_clients=False, client_death=ClientDeath.NEVER),
    "one-with-other-clients": Strikes(1, other_clients=True, client_death=ClientDeath.NEVER),
    "one-with-client-death": Strikes(1, other_clients=False, client_death=ClientDeath.FOR_GOOD),
    "one-with-client-death-recovered": Strikes(
        1, other_clients=False, client_death=ClientDeath.RECOVERED
    ),
}
_EXECUTABLE = 0o700


@click.command("page")
@click.argument("design")
@click.argument("request", type=click.Path(dir_okay=False))
@vm_option
@facts_option
@click.option(
    "-o", "--output", "folder", required=True, metavar="FOLDER", help="Where the files are written."
)
@json_option
def page(  # noqa: PLR0913 - one parameter an option
    *,
    design: str,
    request: str,
    vm: str | None,
    facts_file: str | None,
    folder: str,
    as_json: bool,
) -> None:
    """Write what a proposal needs: a page for the list, QAPI with its comments, and a test.

    DESIGN is a design's name or file, REQUEST what it is explored with, as for `explore`. The test is
    for QEMU's tests/qemu-iotests/tests. Files that are there are never overwritten.
    """
    found = find_design(design)
    read, facts = read_request(read_file(request), request), gather_facts(vm, facts_file)
    files = {
        "page": str(Path(folder) / "page.md"),
        "fragment": str(Path(folder) / "qapi-fragment.json"),
        "test": str(Path(folder) / file_name(found)),
    }
    _check_free(files.values())
    tasks = {each: task_of_design(found, read, facts, _STRIKES[each]) for each in VERDICTS}
    judged = _judged(tasks)
    tried = trying(tasks["none"].setting)
    where = ["--facts", facts_file] if facts_file else ["--vm", vm or ""]
    made = shlex.join(["snapplan", "design", "page", design, request, *where, "-o", folder])
    names = {kind: Path(path).name for kind, path in files.items()}
    _make_folder(folder)
    write_file(
        files["page"], page_text(found, judged, tried, names, made, left_out=tasks["none"].left_out)
    )
    write_file(files["fragment"], qapi_text(found, proposals_of(tried.spelled)))
    write_file(files["test"], iotest_text(found, tried))
    Path(files["test"]).chmod(_EXECUTABLE)
    if as_json:
        print_json(page_to_plain(found, judged, tried, files))
    else:
        for path in files.values():
            click.echo(f"{path} is written")


def _check_free(paths: Iterable[str]) -> None:
    for path in paths:
        if os.path.lexists(path):
            problem = Problem("file-exists", path, "something is there", "give another folder")
            raise BadInput("a file is there already", problems=(problem,), code=problem.code)


def _make_folder(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = Problem("file-unwritable", folder, error.strerror or str(error))
        raise BadInput(
            "the folder cannot be made", problems=(problem,), code=problem.code
        ) from error


def _judged(tasks: dict[str, Task]) -> list[Judged]:
    """Explore with every set of faults."""
    line = ProgressLine("exploring")
    line.start()
    judged = []
    try:
        for faults, task in tasks.items():
            search = task.search(0, reduced=True)
            for progress in search.run():
                line.update(f"{faults}: {progress.states} states, {progress.waiting} waiting")
            layers = search.moves.layers if isinstance(search, Search) else None
            judged.append(Judged(faults, search.report(), layers))
    finally:
        line.stop()
    return judged
