"""Lines of the human monitor (HMP), as the QMP commands that QEMU runs for them.

Most commands of the human monitor call the QMP command of a like name.  Such a line is read as that
command, so each rule knows it.  `savevm`, `loadvm`, `delvm` and what the simulator answers in text stay
lines of the human monitor; so does what is not known here.

The words and options are those of QEMU's ``hmp-commands.hx``; a size without a unit is in MiB there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

__all__ = ["hmp_as_qmp", "hmp_command"]

_SAME = {"s": "stop", "stop": "stop", "c": "cont", "cont": "cont", "q": "quit"}
_BARE = ("migrate_cancel", "system_powerdown", "system_wakeup")
"""Without arguments, and of the same name there."""
_INFO = {
    "block": "query-block",
    "block-jobs": "query-block-jobs",
    "migrate": "query-migrate",
    "named-block-nodes": "query-named-block-nodes",
}
_SIZE = re.compile(r"(?P<count>\d+)(?P<unit>[bBkKmMgGtTeE]?)")
_UNITS = {"b": 0, "k": 1, "m": 2, "": 2, "g": 3, "t": 4, "e": 6}

Qmp = tuple[str, dict[str, object]]


def hmp_command(line: str) -> Qmp | None:
    """The QMP command that a client sends for a line; None: the line is empty.

    ``stop`` and ``cont`` have QMP commands of their own; of the others the line is sent as it stands.
    """
    words = line.split()
    if not words:
        return None
    same = _SAME.get(words[0]) if len(words) == 1 else None
    return (same, {}) if same else ("human-monitor-command", {"command-line": " ".join(words)})


def hmp_as_qmp(line: str) -> Qmp | None:
    """The QMP command that QEMU runs for a line; None: none that is known here.

    Args:
        line: As it is typed behind the prompt, or as `human-monitor-command` has it.
    """
    words = _words(line)
    if not words:
        return None
    name, *rest = words
    options = frozenset(letter for word in rest if _is_option(word) for letter in word[1:])
    plain = [word for word in rest if not _is_option(word)]
    if name == "info":
        return (_INFO[plain[0]], {}) if len(plain) == 1 and plain[0] in _INFO else None
    if name in _BARE:
        return None if plain else (name, {})
    reader = _READERS.get(name)
    return None if reader is None else reader(options, plain)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and word[1:].isalpha()


def _migrate(options: frozenset[str], plain: list[str]) -> Qmp | None:
    if len(plain) != 1:
        return None
    said = {"blk": "b" in options, "inc": "i" in options, "resume": "r" in options}
    return "migrate", {"uri": plain[0], **{key: True for key, is_set in said.items() if is_set}}


def _migrate_incoming(_: frozenset[str], plain: list[str]) -> Qmp | None:
    return ("migrate-incoming", {"uri": plain[0]}) if len(plain) == 1 else None


def _capability(_: frozenset[str], plain: list[str]) -> Qmp | None:
    if len(plain) != 2 or plain[1] not in ("on", "off"):
        return None
    one = {"capability": plain[0], "state": plain[1] == "on"}
    return "migrate-set-capabilities", {"capabilities": [one]}


def _overlay(options: frozenset[str], plain: list[str]) -> Qmp | None:
    if len(plain) not in (2, 3):  # without a file it is an error of the human monitor's own
        return None
    arguments = _named(("device", "snapshot-file", "format"), plain)
    return "blockdev-snapshot-sync", arguments | _mode(options)


def _internal(_: frozenset[str], plain: list[str]) -> Qmp | None:
    if len(plain) != 2:
        return None
    return "blockdev-snapshot-internal-sync", _named(("device", "name"), plain)


def _delete_internal(_: frozenset[str], plain: list[str]) -> Qmp | None:
    if len(plain) not in (2, 3):
        return None
    return "blockdev-snapshot-delete-internal-sync", _named(("device", "name", "id"), plain)


def _drive_copy(command: str) -> Callable[[frozenset[str], list[str]], Qmp | None]:
    def read(options: frozenset[str], plain: list[str]) -> Qmp | None:
        if len(plain) not in (2, 3):
            return None
        sync = {"sync": "full" if "f" in options else "top"}
        return command, _named(("device", "target", "format"), plain) | sync | _mode(options)

    return read


def _resize(_: frozenset[str], plain: list[str]) -> Qmp | None:
    size = _SIZE.fullmatch(plain[1]) if len(plain) == 2 else None
    if size is None:
        return None
    count = int(size["count"]) * 1024 ** _UNITS[size["unit"].lower()]
    return "block_resize", {"device": plain[0], "size": count}


def _unplug(_: frozenset[str], plain: list[str]) -> Qmp | None:
    return ("device_del", {"id": plain[0]}) if len(plain) == 1 else None


def _plug(__: frozenset[str], plain: list[str]) -> Qmp | None:
    if len(plain) != 1:
        return None
    driver, *settings = plain[0].split(",")
    arguments: dict[str, object] = {"driver": driver}
    for setting in settings:
        key, _, value = setting.partition("=")
        arguments[key] = value
    return "device_add", arguments


def _job(command: str) -> Callable[[frozenset[str], list[str]], Qmp | None]:
    def read(options: frozenset[str], plain: list[str]) -> Qmp | None:
        if len(plain) != 1:
            return None
        return command, {"device": plain[0]} | ({"force": True} if "f" in options else {})

    return read


def _named(keys: tuple[str, ...], values: list[str]) -> dict[str, object]:
    return dict(zip(keys, values, strict=False))


def _mode(options: frozenset[str]) -> dict[str, object]:
    return {"mode": "existing"} if "n" in options else {}


_READERS: Mapping[str, Callable[[frozenset[str], list[str]], Qmp | None]] = {
    "migrate": _migrate,
    "migrate_incoming": _migrate_incoming,
    "migrate_set_capability": _capability,
    "snapshot_blkdev": _overlay,
    "snapshot_blkdev_internal": _internal,
    "snapshot_delete_blkdev_internal": _delete_internal,
    "drive_backup": _drive_copy("drive-backup"),
    "drive_mirror": _drive_copy("drive-mirror"),
    "block_resize": _resize,
    "device_add": _plug,
    "device_del": _unplug,
    "block_job_cancel": _job("block-job-cancel"),
    "block_job_complete": _job("block-job-complete"),
}
