"""One QEMU process, one lock: held by a process, and gone with it."""

import os
import subprocess
import sys
import uuid

import pytest
from attrs import evolve

from planner.errors import Refused
from planner.host.processes import process_of
from planner.store.instance import Instance
from planner.store.process_locks import locked_names, names_of

HOLDS = (
    "import sys; from planner.store.process_locks import locked_names\n"
    "with locked_names(sys.argv[1:]): print(flush=True); input()"
)


@pytest.fixture
def held():
    """A lock that another process holds, and that process."""
    name = str(uuid.uuid4())
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    yield name, child
    child.kill()
    child.communicate()


def test_two_do_not_hold_one_lock_and_the_holder_is_named(held):
    name, child = held
    with pytest.raises(Refused) as refused, locked_names([name]):
        pass
    assert refused.value.code == "vm-locked"
    assert f"process {child.pid} of user {os.getuid()}" in refused.value.message


def test_a_lock_goes_with_its_holder(held):
    name, child = held
    child.kill()
    child.wait()
    with locked_names([name]):
        pass


def test_all_are_held_or_none(held):
    name, _ = held
    free = str(uuid.uuid4())
    with pytest.raises(Refused), locked_names([free, name]):
        pass
    with locked_names([free]):
        pass


def test_a_qemu_is_known_by_its_process_and_by_its_own_word():
    """Through a relay or over TCP its own word is all that is heard; it is the same for everyone."""
    process = process_of(os.getpid())
    direct, relayed = Instance((7, 8), process), Instance((7, 8))
    assert set(names_of(relayed, "u", "n")) < set(names_of(direct, "u", "n"))
    other = Instance((7, 8), evolve(process, started_ticks=1))
    assert set(names_of(direct, "u", "n")) != set(names_of(other, "u", "n"))
    assert not set(names_of(relayed, "u", "n")) & set(names_of(relayed, "v", "n"))
    assert names_of(Instance()) == ()
