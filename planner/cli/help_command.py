"""`snapplan help`: the documentation in the terminal."""

from __future__ import annotations

import sys

import click

from planner.cli import waiting_line
from planner.cli.help_pages import (
    error_code_text,
    fact_text,
    page_text,
    pages,
    title_of,
    unknown_topic,
)
from planner.present.tables import table

__all__ = ["command"]


@click.command("help")
@click.argument("topic", nargs=-1)
@click.pass_context
def command(context: click.Context, *, topic: tuple[str, ...]) -> None:
    """Show a page of the documentation; without TOPIC, list them.

    TOPIC is a page, a command (`help apply`, `help group apply`), a fact about QEMU that a message cites
    (`help fact 21`), or an error code (`help disk-busy`).
    """
    if not topic:
        listed = [
            (name, title_of(page))
            for name, page in pages().items()
            if page.parent.name != "decisions"  # they explain the code, to those who change it
        ]
        click.echo("Pages:")
        click.echo(table(listed, indent="  "))
        click.echo(
            "Also: snapplan help COMMAND, snapplan help fact NUMBER, snapplan help ERROR-CODE"
        )
        return
    text = _text_of(context, topic)
    if sys.stdout.isatty():
        with waiting_line.held():
            click.echo_via_pager(text)
    else:
        click.echo(text, nl=False)


def _text_of(context: click.Context, topic: tuple[str, ...]) -> str:
    if topic[0] in ("fact", "facts") and len(topic) > 1:
        return "\n".join(fact_text(number) for number in topic[1:])
    found = _help_of_command(context, topic)
    if found:
        return found
    if len(topic) == 1:
        known = pages()
        if topic[0] in known:
            return page_text(known[topic[0]])
        found = error_code_text(topic[0])
    if not found:
        raise unknown_topic(" ".join(topic))
    return found


def _help_of_command(context: click.Context, words: tuple[str, ...]) -> str:
    """The help of a command, also of one within a group; nothing where it is none."""
    at, above = context.find_root().command, context.find_root()
    for word in words:
        below = at.get_command(above, word) if isinstance(at, click.Group) else None
        if below is None:
            return ""
        at, above = below, click.Context(below, info_name=word, parent=above)
    return f"{at.get_help(above)}\n"
