"""`snapplan completion`: has a shell complete commands, options and files."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from planner.cli.common import write_file
from planner.errors import InternalError

__all__ = ["command"]

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_SNAPPLAN_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.option("--install", is_flag=True, help="Write it where the shell looks for it.")
@click.pass_context
def command(context: click.Context, *, shell: str | None, install: bool) -> None:
    """Print the completion of a shell, or install it for this user.

    Without SHELL it is the one that $SHELL names.
    """
    shell = shell or _own_shell()
    script = _script(context, shell)
    if not install:
        click.echo(script)
        return
    place = _place_for(shell)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_file(str(place), f"{script}\n")
    click.echo(f"written: {place}")
    if shell == "zsh":
        click.echo(f"~/.zshrc must have, before compinit: fpath+=({place.parent})")
    click.echo("a new shell completes snapplan")


def _own_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    return name if name in _SHELLS else "bash"


def _script(context: click.Context, shell: str) -> str:
    made = get_completion_class(shell)
    if made is None:
        raise InternalError(f"click knows no {shell}")
    root = context.find_root()
    return made(root.command, {}, "snapplan", _VARIABLE).source()


def _place_for(shell: str) -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion/completions/snapplan",
        "zsh": data / "zsh/site-functions/_snapplan",
        "fish": settings / "fish/completions/snapplan.fish",
    }[shell]
