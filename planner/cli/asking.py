"""What a person at the terminal is told and asked, as a verb wants it."""

from __future__ import annotations

import sys

import click
from attrs import frozen

from backends.guest_agent import GuestAgent
from backends.host import QemuHost
from backends.images import QemuImages
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import stopped_by_signals
from planner.errors import BadInput, Problem
from planner.present.visible import visible
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.context import Context, Offline, Question

__all__ = ["Asking", "context_of", "offline_of"]


@frozen
class Asking:
    """Asks whoever sits at the terminal, the progress line out of the way.

    Attributes:
        reporter: Whose line it is.
        yes: Whether everything was agreed to beforehand.
    """

    reporter: TerminalReporter
    yes: bool

    def __call__(self, question: Question) -> bool:
        """Ask; a no ends the command (`click.Abort`).

        Raises:
            BadInput: Nobody is there to be asked (``confirmation-missing``).
        """
        if self.yes:
            return False
        if not sys.stdin.isatty():
            problem = Problem(
                "confirmation-missing", question.subject, question.loss, question.remedy
            )
            raise BadInput(problem.words, problems=(problem,), code=problem.code)
        with self.reporter.quiet():
            click.confirm(visible(question.question), abort=True, err=True)
        return True


def context_of(
    backend: Backend, store: Store, address: str, reporter: TerminalReporter, *, yes: bool = False
) -> Context:
    """What the command line does a verb with: stopped by signals, asking at the terminal."""
    return Context(
        backend,
        store,
        address,
        GuestAgent,
        reporter,
        consent=Asking(reporter, yes),
        awaiting=stopped_by_signals,
    )


def offline_of(store: Store, reporter: TerminalReporter, *, yes: bool = False) -> Offline:
    """The same without a VM."""
    return Offline(
        store,
        QemuImages(),
        QemuHost(),
        reporter,
        consent=Asking(reporter, yes),
        awaiting=stopped_by_signals,
    )
