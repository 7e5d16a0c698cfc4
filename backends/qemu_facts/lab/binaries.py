"""Which binaries: `SNAPPLAN_QEMU` (a path), else `qemu-system-x86_64` on PATH.

Its qemu-img: `SNAPPLAN_QEMU_IMG`, else the one beside it, else the one on PATH.
"""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from backends.qemu_facts.lab.outcome import NotRun

__all__ = [
    "QemuUnusable",
    "daemon_binary",
    "greeting",
    "qemu_binary",
    "qemu_img_binary",
    "qemu_img_if_there",
    "qemu_version",
]

START_DEADLINE_S = 30.0
_LONGEST = 300


class QemuUnusable(AssertionError):
    """There is no QEMU at that path, or what is there does not speak QMP."""


def qemu_binary() -> str:
    """The QEMU under test; that there is none is an error, never a reason to skip.

    Raises:
        QemuUnusable: There is none.
    """
    found = os.environ.get("SNAPPLAN_QEMU") or shutil.which("qemu-system-x86_64")
    if not found or not shutil.which(found):
        raise QemuUnusable(f"no QEMU: install qemu-system-x86 or set SNAPPLAN_QEMU ({found=})")
    return found


def qemu_img_binary() -> str:
    """The qemu-img that belongs to the QEMU under test.

    Raises:
        NotRun: There is none.
    """
    found = qemu_img_if_there()
    if found is None:
        raise NotRun("needs qemu-img")
    return found


def qemu_img_if_there() -> str | None:
    """The same; None: there is none, and images are made without it."""
    binary = Path(qemu_binary())
    beside = binary.with_name(binary.name.replace("qemu-system-x86_64", "qemu-img"))
    candidates = (os.environ.get("SNAPPLAN_QEMU_IMG"), str(beside), "qemu-img")
    return next((path for path in candidates if path and shutil.which(path)), None)


def daemon_binary() -> str:
    """The qemu-storage-daemon beside the QEMU under test, else the one on PATH.

    Raises:
        NotRun: There is none.
    """
    beside = qemu_binary().replace("qemu-system-x86_64", "qemu-storage-daemon")
    found = shutil.which(beside) or shutil.which("qemu-storage-daemon")
    if found is None:
        raise NotRun("needs qemu-storage-daemon")
    return found


def qemu_version(binary: str | None = None) -> tuple[int, int]:
    """The (major, minor) that a QEMU says of itself in its greeting.

    Raises:
        QemuUnusable: It does not say one.
    """
    version = greeting(binary or qemu_binary())["qemu"]
    return version["major"], version["minor"]


@functools.cache
def greeting(binary: str, limit_s: float = START_DEADLINE_S) -> dict[str, Any]:
    """What a QEMU says of its version: `qemu` with `major`, `minor` and `micro`, and `package`.

    Raises:
        QemuUnusable: It cannot be started, says something else, or nothing in good time.
    """
    command = [binary, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    try:
        done = subprocess.run(
            command,
            input=b'{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n',
            capture_output=True,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        raise QemuUnusable(f"{binary} says nothing for {limit_s:.0f} s") from None
    except OSError as error:
        raise QemuUnusable(f"{binary} cannot be started: {error.strerror}") from None
    try:
        version = json.loads(done.stdout.splitlines()[0])["QMP"]["version"]
        numbers = [version["qemu"][part] for part in ("major", "minor", "micro")]
    except (ValueError, LookupError, TypeError):
        said = " ".join(done.stderr.decode(errors="replace").split())[:_LONGEST]
        ended = f"{binary} ends with {done.returncode} without a greeting of QMP"
        raise QemuUnusable(f"{ended}: {said}" if said else ended) from None
    if not all(type(number) is int for number in numbers):
        raise QemuUnusable(f"{binary} says a version that is none: {numbers}")
    return {"qemu": version["qemu"], "package": str(version.get("package", ""))}
