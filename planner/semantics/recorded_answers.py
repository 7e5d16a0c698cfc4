"""Answers to queries that this model knows nothing of, as QEMU gave them (`script/record-queries`).

Theory: what takes no arguments and is about nothing that a snapshot changes (models of processor, memory
backends, options of the command line) has one answer for one machine.  Each version's is that of a VM of
its own: machine type pc, 64 MiB, one processor, two virtio disks, no display, no network.  A refusal is
an answer, too: "No balloon device has been activated".
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, cast

from planner.semantics.result import CommandResult, QmpError
from planner.semantics.state import VmState

__all__ = ["recorded_answer", "recorded_answers"]


@functools.cache
def recorded_answers(version: str) -> Mapping[str, Mapping[str, Any]]:
    """The answers of a profile's QEMU by command: each has `return`, or `error` with class and desc.

    It is package data, read once, as the schema is.
    """
    data = resources.files(__package__).joinpath("data", f"queries-{version}.json.gz").read_bytes()
    return cast("dict[str, dict[str, Any]]", json.loads(gzip.decompress(data)))


def recorded_answer(state: VmState, name: str) -> CommandResult:
    """What this QEMU said; the VM stays as it is."""
    answer = recorded_answers(state.profile.name)[name]
    if "error" in answer:
        error = QmpError(answer["error"]["class"], answer["error"]["desc"])
        return CommandResult(state, error=error)
    return CommandResult(state, answer["return"])
