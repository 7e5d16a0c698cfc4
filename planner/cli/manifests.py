"""What the commands on manifests share: how a manifest is named, and where its images are."""

from __future__ import annotations

import click

from planner.verbs.find import FoundManifest, find_manifest, read_again, store_of

__all__ = [
    "FoundManifest",
    "find_manifest",
    "manifest_argument",
    "offline_option",
    "read_again",
    "store_of",
]

manifest_argument = click.argument("source", metavar="TAG|MANIFEST")
offline_option = click.option(
    "--offline",
    is_flag=True,
    help="Work on the image files themselves; no VM may have them open.",
)
