"""What the log says of QMP: each command with its arguments, and how it was answered, at level debug.

Rules: a log is kept, copied and sent to others.  So no answer is in it, since answers may be the
guest's, and no value of an argument that may be a secret; names are escaped: a line stays a line.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

__all__ = ["LOG", "log_answer", "log_command"]

LOG = logging.getLogger("snapplan.qmp")

_SECRET = ("password", "secret", "data", "key")
_HIDDEN = "(not logged)"


def log_command(command: str, arguments: Mapping[str, object]) -> None:
    """Log a command that is about to be sent."""
    if LOG.isEnabledFor(logging.DEBUG):
        LOG.debug("> %s %s", command, json.dumps(_shown(arguments), default=str))


def log_answer(command: str, seconds: float, error: BaseException | None = None) -> None:
    """Log that a command was answered, or why not."""
    if LOG.isEnabledFor(logging.DEBUG):
        how = "answered" if error is None else json.dumps(f"{type(error).__name__}: {error}")
        LOG.debug("< %s %s after %.1f ms", command, how, seconds * 1000)


def _shown(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            str(key): _HIDDEN if _is_secret(str(key), each) else _shown(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return value


def _is_secret(key: str, value: object) -> bool:
    # The name of a secret's object, as in `key-secret`, is none.
    return isinstance(value, str) and key.lower() in _SECRET
