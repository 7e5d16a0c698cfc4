"""What the commands on manifests share: options."""

from __future__ import annotations

import click

from planner.host.secret_files import open_to_others, secret_files
from planner.model.image_key import NO_SECRETS, Secrets

__all__ = [
    "alone_option",
    "check_name",
    "manifest_argument",
    "name_option",
    "offline_option",
    "secret_option",
]

manifest_argument = click.argument("source", metavar="TAG|MANIFEST")
offline_option = click.option(
    "--offline",
    is_flag=True,
    help="Work on the image files themselves; no VM may have them open.",
)
alone_option = click.option(
    "--alone",
    is_flag=True,
    help="Of a snapshot that is a member's of a group: do it to this member, and leave the others.",
)
name_option = click.option(
    "--name",
    "name",
    metavar="VM",
    default="",
    help="Without --vm: which VM of the store, by its name or UUID.",
)


def _secrets(
    _context: click.Context, _parameter: click.Parameter, told: tuple[str, ...]
) -> Secrets:
    pairs = [text.partition("=") for text in told]
    if not all(name and equals and file for name, equals, file in pairs):
        # What was given is not repeated: somebody may have taken this for the place of the key.
        raise click.BadParameter("it is ID=FILE")
    secrets = secret_files({name: file for name, _, file in pairs})
    for file in open_to_others(secrets):
        click.echo(f"snapplan: others may read {file}, which holds a secret: chmod 600", err=True)
    return secrets


secret_option = click.option(
    "--secret",
    "secrets",
    metavar="ID=FILE",
    multiple=True,
    callback=_secrets,
    help="Where no VM runs: the file that holds the key of an encrypted image, by the id that its QEMU "
    "has for that secret (-object secret,id=ID). Once for each. The key itself is never given here.",
)


def check_name(name: str, vm: str | None, secrets: Secrets = NO_SECRETS) -> None:
    """Refuse to be told in two ways which VM is meant, and keys that a VM has itself.

    Raises:
        UsageError: Both are given, or a VM and keys.
    """
    if vm and secrets.files:
        raise click.UsageError(
            "--secret is for commands without --vm: a VM has the keys of its images"
        )
    if name and vm:
        raise click.UsageError("--name is for commands without --vm: a VM that is asked is known")
