"""What a QEMU that answers is to a run, and what proves that the QEMU of a run is gone."""

import asyncio
import os
import socket
from functools import partial

import pytest
from attrs import evolve

from backends.qemu import QemuBackend
from planner.errors import CannotConnect, OutcomeUnknown
from planner.host.processes import OpenFiles, boot_id, process_of
from planner.model.facts_text import facts_to_plain
from planner.recover import gone
from planner.recover.gone import check_gone
from planner.recover.replay import Replayed
from planner.run.journal import Header, Intent, Journal
from planner.run.observation import baseline_of
from planner.save.save_machine import SaveMachine
from planner.save.save_run import SaveRun
from planner.store.instance import Instance, socket_stamp
from planner.store.meeting import Sameness, sameness
from tests.unit.build import facts, plan, qcow2, whole


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk0.qcow2"
    path.touch()
    return path


def vm_of(image):
    return facts(qcow2("disk0", filename=str(image)))


def header_of(image, **more):
    vm = vm_of(image)
    header = Header(
        run="1", snapplan="0", address="/run/vm", vm_uuid="", vm_name="", instance="7,8",
        boot=boot_id(), started_ns=0, plan={}, facts=facts_to_plain(vm), baseline=baseline_of(vm),
    )  # fmt: skip
    return evolve(header, **more)


HERE = process_of(os.getpid())
ELSEWHERE = evolve(HERE, started_ticks=1)
THREADS = (7, 8)


@pytest.mark.parametrize(
    ("known", "met", "same"),
    [
        ({"process": HERE}, Instance(THREADS, HERE), "SAME"),
        ({"process": HERE, "instance": "7"}, Instance(THREADS, HERE), "SAME"),  # a CPU was plugged
        ({"process": HERE}, Instance(THREADS, ELSEWHERE), "ANOTHER"),
        ({"process": HERE}, Instance(THREADS), "SAME"),  # through a relay
        ({"process": ELSEWHERE}, Instance(THREADS), "ANOTHER"),  # it is dead
        ({"process": HERE}, Instance((9,)), "ANOTHER"),
        ({"boot": "before"}, Instance(THREADS), "ANOTHER"),
        ({}, Instance(THREADS), "SAME"),  # a journal of before
        ({"socket": "1:2:3"}, Instance(THREADS, socket="1:2:3"), "SAME"),
        ({"socket": "1:2:3"}, Instance(THREADS, socket="1:2:4"), "UNKNOWN"),
        ({"socket": "1:2:3"}, Instance((9,), socket="1:2:4"), "ANOTHER"),
    ],
)
def test_the_process_tells_qemus_apart(image, known, met, same):
    """In a container a QEMU has the same thread ids after every start."""
    assert sameness(header_of(image, **known), met, vm_of(image)) is Sameness[same]


def test_a_socket_that_is_made_anew_is_another(tmp_path):
    path = tmp_path / "socket"
    stamps = set()
    for _ in range(2):
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            stamps.add(socket_stamp(str(path)))
    assert len(stamps) == 2
    assert socket_stamp("localhost:4444") == socket_stamp("/no/such/socket") == ""


def gone_problem(monkeypatch, image, header, *, migrated=False, complete=True, users=None):
    """The code with which an offline repair is refused; empty: it is not."""
    monkeypatch.setattr(gone, "open_files", lambda _: OpenFiles(users or {}, complete))
    records = (Intent({"$send": {"command": "migrate"}}),) if migrated else ()
    vm = vm_of(image)
    made = plan("monolithic", vm, whole("disk0"))
    machine = SaveMachine.of(made.program, baseline_of(vm))
    try:
        check_gone(
            Journal(header, records, 0), Replayed(SaveRun(made, vm), machine, machine.start())
        )
    except OutcomeUnknown as refused:
        return refused.code
    return ""


def test_only_what_proves_the_death_counts(monkeypatch, image):
    """The process decides; else nobody may have an image open, and that must be seen in full."""
    found = partial(gone_problem, monkeypatch, image)
    alive, dead = header_of(image, process=HERE), header_of(image, process=ELSEWHERE)
    unknown = header_of(image)
    assert found(alive) == "qemu-alive"
    assert not found(dead, migrated=True, complete=False)
    assert not found(unknown)
    assert not found(unknown, complete=False)  # no lock is held on the image
    assert found(unknown, migrated=True, complete=False) == "death-unproved"
    assert not found(unknown, migrated=True)
    assert found(unknown, users={1: "disk0"}) == "image-in-use"
    image.unlink()
    assert found(unknown, complete=False) == "death-unproved"
    monkeypatch.setattr(gone, "is_locked", lambda _: True)
    assert found(unknown) == "image-in-use"


def test_a_folder_that_may_not_be_read_is_no_empty_one(monkeypatch, tmp_path):
    """Nobody knows whether somebody listens there."""

    def denied(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.stat", denied)
    with pytest.raises(CannotConnect) as refused:
        asyncio.run(QemuBackend(str(tmp_path / "socket")).connect(1.0))
    assert refused.value.code == "no-access"
