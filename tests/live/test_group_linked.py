"""Guests that talk to each other: saved as a group none knows what the other has not done."""

import tempfile
from pathlib import Path

import pytest

from tests.live.runs import as_json, snapplan
from tests.support.linked import NAMES, linked, make_images

pytestmark = pytest.mark.real_qemu

REQUEST = "tag: {tag}\nmachine-state: {{internal: disk0}}\ndisks: {{disk0: internal}}\n"


@pytest.fixture
def place():
    """A folder with a short path, for the sockets in it, and the two images."""
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        make_images(Path(folder))
        yield Path(folder)


def group_file(folder, tag):
    (folder / "request.yaml").write_text(REQUEST.format(tag=tag))
    lines = [f"  {name}: {{vm: {folder}/{name}/tool, request: request.yaml}}\n" for name in NAMES]
    path = folder / "group.yaml"
    path.write_text(f"group: {tag}\nmembers:\n{''.join(lines)}")
    return path


def save_together(folder, tag):
    done = snapplan(
        "group", "apply", group_file(folder, tag), "--store", folder / "store", "--json"
    )
    assert done.returncode == 0, done.stderr
    return as_json(done)["saved"]


def talk(vms, lines=2):
    """Both go on until each has said so many times more what it has sent and received."""
    since = {name: len(vm.counts()) for name, vm in vms.items()}
    for name, vm in vms.items():
        vm.wait(lines, since[name])


def load_together(folder, tag):
    """In two QEMUs that were just started, and have nothing between them; whether one is torn."""
    with linked(folder, "-S") as vms:
        more = ("--run-state-after", "running", "--store", folder / "store", "--json")
        done = snapplan("group", "load", tag, *more)
        assert done.returncode == 0, done.stderr
        talk(vms, 3)
        return any(vm.torn() for vm in vms.values())


def rounds(folder, count):
    """How many of so many groups are torn; one after the other, on guests that go on."""
    with linked(folder) as vms:
        for number in range(count):
            talk(vms)
            assert not any(vm.torn() for vm in vms.values())
            save_together(folder, f"g{number}")
    return [load_together(folder, f"g{number}") for number in range(count)]


def test_a_group_is_not_torn(place):
    """Two guests on one line, saved together while they talk, and brought back in fresh QEMUs."""
    assert rounds(place, 1) == [False]


@pytest.mark.long
def test_no_group_of_twelve_is_torn(place):
    """The same, at twelve instants."""
    assert rounds(place, 12) == [False] * 12


def test_one_after_the_other_is_torn(place):
    """The guests tell: the second remembers what the first, saved before, has not sent yet."""
    store = ("--store", place / "store", "--json")
    (place / "request.yaml").write_text(REQUEST.format(tag="a"))
    with linked(place) as vms:
        talk(vms)
        for vm in vms.values():
            where = ("--vm", vm.tool, "--design", "transactional", *store)
            done = snapplan("apply", place / "request.yaml", *where)
            assert done.returncode == 0, done.stderr
            talk(vms)
    with linked(place, "-S") as vms:
        for vm in vms.values():
            done = snapplan("load", "a", "--vm", vm.tool, *store)
            assert done.returncode == 0, done.stderr
        for vm in vms.values():
            vm.qmp.execute("cont")
        vms["right"].wait(3)
        assert vms["right"].torn()
