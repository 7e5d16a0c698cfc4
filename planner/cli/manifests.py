"""What the commands on manifests share: options."""

from __future__ import annotations

import click

__all__ = ["check_name", "manifest_argument", "name_option", "offline_option"]

manifest_argument = click.argument("source", metavar="TAG|MANIFEST")
offline_option = click.option(
    "--offline",
    is_flag=True,
    help="Work on the image files themselves; no VM may have them open.",
)
name_option = click.option(
    "--name",
    "name",
    metavar="VM",
    default="",
    help="Without --vm: which VM of the store, by its name or UUID.",
)


def check_name(name: str, vm: str | None) -> None:
    """Refuse to be told in two ways which VM is meant.

    Raises:
        UsageError: Both are given.
    """
    if name and vm:
        raise click.UsageError("--name is for commands without --vm: a VM that is asked is known")
