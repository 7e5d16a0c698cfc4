"""Which process a domain's QEMU is: libvirt gives no pid; the command line says whose QEMU it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["qemu_of_domain"]

_PROC = Path("/proc")


def qemu_of_domain(uuid: str) -> int | None:
    """The process of a domain's QEMU; None: it cannot be told.

    Args:
        uuid: The domain's, as libvirt puts it behind ``-uuid``.
    """
    found = [pid for pid, words in _command_lines() if _value_of(words, "-uuid") == uuid]
    return found[0] if len(found) == 1 else None


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is hidden from us
        yield int(entry.name), text.decode("utf-8", "surrogateescape").split("\0")


def _value_of(words: list[str], option: str) -> str:
    """What stands behind an option, where libvirt's name of a guest stands on the line as well."""
    libvirts = any(word.startswith("guest=") for word in words)
    return words[words.index(option) + 1] if libvirts and option in words[:-1] else ""
