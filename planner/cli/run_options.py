"""Options of commands that run something on a VM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from planner.model.request import RunStateAfter

__all__ = ["deadline_option", "run_state_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def deadline_option(what: str) -> Callable[[_Command], _Command]:
    """``--deadline``: how long something may take.

    Args:
        what: What, as help says it.
    """
    seconds = click.FloatRange(min=0, min_open=True)
    return click.option("--deadline", "deadline_s", type=seconds, metavar="SECONDS", help=what)


def run_state_option(what: str) -> Callable[[_Command], _Command]:
    """``--run-state-after``: what becomes of a guest that was loaded.

    Args:
        what: What, as help says it.
    """
    return click.option(
        "--run-state-after",
        type=click.Choice([state.value for state in RunStateAfter]),
        default=RunStateAfter.AS_BEFORE.value,
        show_default=True,
        help=what,
    )
