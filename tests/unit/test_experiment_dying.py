"""The client that dies at a point of its save, and nowhere else."""

import asyncio
import os
import signal

import pytest

from backends.qemu import QemuBackend
from planner.experiment import dying
from planner.run.ports import CommandRefused

SENT = ("query-status", "stop", "qom-list", "snapshot-save", "query-jobs", "cont")


class Killed(BaseException):
    """SIGKILL."""


def died_at(monkeypatch, capfd, point, sent=SENT):
    """What QEMU has had, and what the client said last."""
    had = []

    async def execute(_self, command, _arguments, _timeout_s):
        had.append(command)
        if command == "refused":
            raise CommandRefused("GenericError", "no")

    def kill(process, number):
        assert (process, number) == (os.getpid(), signal.SIGKILL)
        raise Killed

    monkeypatch.setattr(QemuBackend, "execute", execute)
    monkeypatch.setattr(dying.os, "kill", kill)
    monkeypatch.setattr(dying.sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115

    async def run():
        backend = dying.DyingBackend("/nowhere", point)
        for command in sent:
            await backend.execute(command, {}, 1.0)

    try:
        asyncio.run(run())
    except Killed:
        return had, capfd.readouterr().out
    return had, None


@pytest.mark.parametrize(
    ("point", "had", "place"),
    [
        (1, 1, "before stop"),
        (2, 2, "after stop"),
        (3, 3, "before snapshot-save"),
        (6, 6, "after cont"),
        (7, 6, None),
    ],
)
def test_a_point_is_before_or_after_a_command_that_is_no_question(
    monkeypatch, capfd, point, had, place
):
    """Before: QEMU never has it; after: it has answered. A point beyond the last is never met."""
    assert died_at(monkeypatch, capfd, point) == (list(SENT[:had]), place)
