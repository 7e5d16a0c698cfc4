"""`snapplan design`: begin a design file, and make a proposal of one."""

from __future__ import annotations

import os

import click

from planner.cli.common import json_option, print_json, write_file
from planner.cli.design_page import page
from planner.errors import BadInput, Problem
from planner.explore.design_template import PURPOSES, design_template
from planner.explore.design_text import read_design
from planner.present.outputs import output
from planner.verbs.design_files import is_path

__all__ = ["command"]


@click.group("design")
def command() -> None:
    """Begin a design file, or write what a proposal needs (docs/design-language.md)."""


@command.command("new")
@click.argument("name")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(PURPOSES),
    default=PURPOSES[0],
    show_default=True,
    help="What the design is for.",
)
@click.option(
    "-o", "--output", metavar="FILE", help="Where it is written [default: NAME.yaml]; - is stdout."
)
@json_option
def new(*, name: str, purpose: str, output: str | None, as_json: bool) -> None:
    """Write a commented design file that can be explored as it is, and changed.

    NAME is the design's name. A file that is there is never overwritten.
    """
    path = output or f"{name}.yaml"
    if output is None and (os.sep in name or name.startswith(".")):
        problem = Problem("design-name-malformed", name, "it cannot be the name of a file: use -o")
        raise BadInput("a design needs a name", problems=(problem,), code=problem.code)
    if path == "-" and as_json:
        raise click.UsageError("-o - writes the design to stdout: leave --json out")
    if path != "-" and os.path.lexists(path):
        problem = Problem("file-exists", path, "something is there", "give another name, or -o")
        raise BadInput("the file is there already", problems=(problem,), code=problem.code)
    text = design_template(name, purpose)
    read_design(text, path)
    write_file(path, text)
    if as_json:
        print_json(_plain(name, path))
    elif path != "-":
        click.echo(f"{path} is written; explore it with")
        click.echo(f"  snapplan explore REQUEST --facts FACTS --design {_named(path)} --watch")


command.add_command(page)


def _named(path: str) -> str:
    """A path that `--design` takes for one."""
    return path if is_path(path) else f"./{path}"


def _plain(name: str, path: str) -> dict[str, object]:
    return output("design", {"design": name, "file": path})
