"""What a person at the terminal is told and asked, as a verb wants it.

Rules: a question is asked where it can be seen and answered: standard input and standard error are the
terminal.  While it stands nothing else is written there.  Ctrl-C, and the end of the input, are a no; so
is everything that comes after them, to the end of the command.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click
from attrs import frozen

from backends.guest_agent import GuestAgent
from planner.cli import waiting_line
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import StoppedBySignals
from planner.errors import BadInput, Problem
from planner.model.image_key import NO_SECRETS, Secrets
from planner.present.visible import visible
from planner.run.ports import Backend
from planner.run.remembering import RememberingBackend
from planner.store.store import Store
from planner.verbs.context import Context, Offline, Question
from planner.verbs.keyring import NO_KEYRING, KeyRing

__all__ = ["Asking", "ask_person", "can_ask", "context_of", "offline_of"]

_SAID_NO = "The answer was no: nothing was changed."


def can_ask() -> bool:
    """Whether somebody sits there who sees a question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_person(question: str, reporter: TerminalReporter | None = None) -> None:
    """Ask; return where the answer is yes.

    Args:
        question: Ends with a question mark.
        reporter: Whose progress line goes away meanwhile; None: there is none.

    Raises:
        click.Abort: The answer is no.
    """
    with nullcontext() if reporter is None else reporter.quiet(), _interrupt_means_no():
        with waiting_line.held():
            answered = _is_yes(visible(question))
        if not answered:
            raise click.Abort(_SAID_NO)


def _is_yes(question: str) -> bool:
    while True:
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if answer in {"y", "yes"}:
            return True
        if answer in {"", "n", "no"}:
            if not line.endswith("\n"):
                sys.stderr.write("\n")  # the end of the input: nobody has typed one
            return False
        sys.stderr.write("y or n, please.\n")


@contextmanager
def _interrupt_means_no() -> Iterator[None]:
    """Take Ctrl-C for the answer, also in the middle of work that would be cancelled by it."""
    before = signal.getsignal(signal.SIGINT)

    def no(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt

    try:
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, no)
        yield
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise click.Abort(_SAID_NO) from None
    except click.Abort:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


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
            click.Abort: The answer is no.
        """
        if self.yes:
            return False
        if not can_ask():
            problem = Problem(
                "confirmation-missing", question.subject, question.loss, question.remedy
            )
            raise BadInput.of(problem)
        ask_person(question.question, self.reporter)
        return True


def context_of(  # noqa: PLR0913 - each is of its own
    backend: Backend,
    store: Store,
    address: str,
    reporter: TerminalReporter,
    *,
    yes: bool = False,
    secrets: Secrets = NO_SECRETS,
) -> Context:
    """What the command line does a verb with: stopped by signals, asking at the terminal."""
    return Context(
        RememberingBackend(backend),
        store,
        address,
        GuestAgent,
        reporter,
        consent=Asking(reporter, yes),
        awaiting=StoppedBySignals(reporter.stopping),
        keyring=_keyring(secrets) if secrets.files else NO_KEYRING,
    )


def offline_of(
    store: Store,
    reporter: TerminalReporter,
    *,
    yes: bool = False,
    vm_name: str = "",
    secrets: Secrets = NO_SECRETS,
) -> Offline:
    """The same without a VM; the tags are those of the VM of this name."""
    # What works on image files takes its time to import, and a running VM needs none of it.
    from backends.copies import RestoringHost  # noqa: PLC0415
    from backends.images import QemuImages  # noqa: PLC0415
    from backends.launch import launch  # noqa: PLC0415

    return Offline(
        store,
        QemuImages(),
        RestoringHost(),
        reporter,
        consent=Asking(reporter, yes),
        awaiting=StoppedBySignals(reporter.stopping),
        vm_name=vm_name,
        launch=launch,
        keyring=_keyring(secrets),
    )


def _keyring(secrets: Secrets) -> KeyRing:
    from backends.copies import RestoringHost  # noqa: PLC0415 - as above
    from backends.images import QemuImages  # noqa: PLC0415

    return KeyRing(
        secrets, lambda keys: QemuImages(keys=keys), lambda keys: RestoringHost(keys=keys)
    )
