"""Files that hold secrets: qemu-img and QEMU read them, snapplan does not."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from planner.errors import BadInput, Problem
from planner.model.image_key import NO_SECRETS, Secrets

__all__ = ["open_to_others", "secret_files"]

_ID = re.compile(r"[A-Za-z][A-Za-z0-9\-._]*\Z")
"""What QEMU takes as the id of an object."""


def secret_files(files: Mapping[str, str | os.PathLike[str]]) -> Secrets:
    """The secrets that a user named, each a file that can be read.

    Args:
        files: The file of each, by the id that the VM's QEMU has for the secret.

    Raises:
        BadInput: An id is none, or a file is no regular file or cannot be read (``secret-unusable``).
    """
    if not files:
        return NO_SECRETS
    problems = tuple(
        Problem("secret-unusable", name, why, "give --secret ID=FILE, with QEMU's id of the secret")
        for name, file in files.items()
        if (why := _wrong(name, Path(file)))
    )
    if problems:
        raise BadInput(problems[0].words, problems=problems, code="secret-unusable")
    return Secrets({name: os.path.realpath(file) for name, file in files.items()})


def open_to_others(secrets: Secrets) -> Iterator[str]:
    """The files of secrets that others may read."""
    for file in sorted(set(secrets.files.values())):
        if Path(file).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            yield file


def _wrong(name: str, file: Path) -> str:
    """Why a secret cannot be used; empty: it can."""
    if _ID.match(name) is None:
        return f"{name!r} is no id of an object of QEMU's"
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        return f"{file}: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(mode):
        return f"{file} is no regular file; it is read several times"
    return "" if os.access(file, os.R_OK) else f"{file} cannot be read"
