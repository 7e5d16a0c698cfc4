"""What a manifest says of its parts that cannot be worked on without their VM, where none runs."""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.image_key import NO_SECRETS, Secrets
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.reach import ELSEWHERE, ENCRYPTED, NO_FILE

__all__ = ["no_key", "unreached_problems", "unwritable_problems"]


def unreached_problems(manifest: Manifest) -> Iterator[Problem]:
    """The parts whose images cannot be reached from here, so that nothing can be told of them."""
    elsewhere = {disk for disk, code in manifest.needs_vm if code == ELSEWHERE}
    for part in manifest.disk_parts:
        if part.disk in elsewhere:
            yield Problem(
                ELSEWHERE,
                part.disk,
                f"QEMU saw its image as {part.file}, which is another name here, or none",
                f"say where it is: --moved {part.file}=PATH; or give --vm ADDR",
            )


def unwritable_problems(manifest: Manifest, secrets: Secrets = NO_SECRETS) -> Iterator[Problem]:
    """The parts inside images that are not written to from here: no key, or no lock to rely on.

    Args:
        manifest: The snapshot.
        secrets: The secrets that a user named.
    """
    told = {(disk, code) for disk, code in manifest.needs_vm}
    for part in manifest.of(InternalSnapshot):
        if (part.disk, ENCRYPTED) in told and secrets.key(part.key_secret) is None:
            yield no_key(part.disk, part.file, part.key_secret)
        if (part.disk, NO_FILE) in told:
            yield Problem(
                NO_FILE,
                part.disk,
                f"its image {part.file[:80]!r} is no file of this machine: no lock would tell whether a "
                "QEMU has it open",
                "start the VM, and give --vm ADDR",
            )


def no_key(disk: str, file: str, key_secret: str) -> Problem:
    """An encrypted image whose key was not named."""
    which = f" (QEMU's secret {key_secret!r})" if key_secret else ""
    return Problem(
        ENCRYPTED,
        disk,
        f"{file} is encrypted, and its key{which} was not given",
        f"give the file that holds it: --secret {key_secret or 'ID'}=FILE; or start the VM, and give "
        "--vm ADDR",
    )
