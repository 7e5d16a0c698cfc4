"""Writes the manual pages: snapplan(1), one for each command, and snapplan-request(5).

    python -m manual_pages FOLDER    (in the checkout, with docs/_extensions in PYTHONPATH)

Commands and options are click's own, the keys of a request those of its schema, so nothing of it is
written twice.  The hook that builds a wheel calls it (`script/installed_names.py`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from schema_rows import schema_of, schema_rows

from planner.cli.main import cli

ROOT = Path(__file__).parents[2]
_EXIT = re.compile(r"^\| (\d+) \| ([^|]+) \|", re.MULTILINE)
_EXAMPLE = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main() -> None:
    """Write every page below FOLDER, as ``man1/NAME.1`` and ``man5/NAME.5``."""
    folder = Path(sys.argv[1])
    for name, section, text in pages():
        path = folder / f"man{section}" / f"{name}.{section}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def pages() -> Iterator[tuple[str, int, str]]:
    """Name, section and text of each page."""
    root = click.Context(cli, info_name="snapplan")
    names = cli.list_commands(root)
    yield "snapplan", 1, _page_of(root, names)
    for name in names:
        command = cli.get_command(root, name)
        if command is None:
            raise ValueError(f"no command {name}")
        context = click.Context(command, info_name=name, parent=root)
        yield f"snapplan-{name}", 1, _page_of(context, [])
    yield "snapplan-request", 5, _request_page()


def _page_of(context: click.Context, others: list[str]) -> str:
    command = context.command
    name = context.command_path.replace(" ", "-")
    lines = [_head(name, 1), *_section("NAME"), f"{name} \\- {_quoted(_first_sentence(command))}"]
    lines += [*_section("SYNOPSIS"), _synopsis(context)]
    lines += [*_section("DESCRIPTION"), *_described(command)]
    lines += _options(context)
    for below in _below(context):
        lines += [f'.SS "{_quoted(below.command_path)}"', _synopsis(below), ".PP"]
        lines += [*_described(below.command), *_options(below, heading=False)]
    if others:
        lines += _section("COMMANDS")
        for other in others:
            about = cli.get_command(context, other)
            lines += [".TP", f".BR snapplan\\-{other} (1)", _quoted(_first_sentence(about))]
    lines += [*_section("EXIT STATUS"), *_exit_codes()]
    see = ["snapplan\\-request (5)", *([] if others else ["snapplan (1)"])]
    lines += [*_section("SEE ALSO"), ",\n".join(f".BR {each}" for each in see)]
    return "\n".join([*lines, ".PP", "snapplan help lists every page of the documentation."]) + "\n"


def _request_page() -> str:
    text = (ROOT / "docs/reference/request.md").read_text()
    schema = schema_of("request")
    example = _EXAMPLE.search(text)
    if not example:
        raise ValueError("docs/reference/request.md has no example")
    lines = [_head("snapplan-request", 5), *_section("NAME")]
    lines += ["snapplan\\-request \\- what a snapshot is to hold"]
    lines += [*_section("DESCRIPTION"), _quoted(schema["description"]), *_section("KEYS")]
    for key, kind, meaning in schema_rows(schema):
        lines += [".TP", f".B {_quoted(key)}", f"({_quoted(kind)}) {_quoted(meaning.strip())}"]
    lines += [*_section("EXAMPLE"), ".nf", *(_quoted(line) for line in example[1].splitlines())]
    return "\n".join([*lines, ".fi", *_section("SEE ALSO"), ".BR snapplan\\-apply (1)"]) + "\n"


def _head(name: str, section: int) -> str:
    return f'.TH {_quoted(name.upper())} {section} "" snapplan snapplan'


def _section(title: str) -> list[str]:
    return [f'.SH "{title}"']


def _below(context: click.Context) -> list[click.Context]:
    command = context.command
    if command is cli or not isinstance(command, click.Group):
        return []
    return [
        click.Context(each, info_name=name, parent=context)
        for name in command.list_commands(context)
        if (each := command.get_command(context, name))
    ]


def _synopsis(context: click.Context) -> str:
    words = " ".join(context.command.collect_usage_pieces(context))
    return f".B {_quoted(context.command_path)}\n{_quoted(words)}"


def _described(command: click.Command) -> list[str]:
    """A docstring's paragraphs, each as lines of its own."""
    paragraphs = re.split(r"\n\s*\n", (command.help or "").strip())
    lines: list[str] = []
    for paragraph in paragraphs:
        words = " ".join(paragraph.replace("\b", "").split())
        lines += [_quoted(words), ".PP"]
    return lines[:-1]


def _options(context: click.Context, *, heading: bool = True) -> list[str]:
    rows = [
        record
        for parameter in context.command.get_params(context)
        if (record := parameter.get_help_record(context)) and record[1]
    ]
    lines = _section("OPTIONS") if rows and heading else []
    for option, about in rows:
        lines += [".TP", f".B {_quoted(option)}", _quoted(" ".join(about.split()))]
    return lines


def _exit_codes() -> list[str]:
    rows = _EXIT.findall((ROOT / "specs/exit-codes.md").read_text())
    return [line for code, meaning in rows for line in (".TP", f".B {code}", _quoted(meaning))]


def _first_sentence(command: click.Command | None) -> str:
    text = " ".join(((command.help if command else "") or "").split())
    return re.split(r"(?<=[.:;])\s", text)[0].rstrip(".:;")


def _quoted(text: str) -> str:
    """Text as roff shows it literally: a hyphen stays one, and no line is taken for a request."""
    shown = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


if __name__ == "__main__":
    main()
