"""A backend is found by its name; what would be a choice by chance is refused."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from planner.errors import BadInput
from planner.store import finding
from planner.store.finding import find_backend


@pytest.fixture
def installed(monkeypatch):
    """Say which entry points are installed."""

    def install(**backends):
        points = [
            EntryPoint(name, value, "snapplan.backends")
            for name, values in backends.items()
            for value in values
        ]
        monkeypatch.setattr(
            finding, "entry_points", lambda **which: EntryPoints(points).select(**which)
        )

    return install


@pytest.mark.parametrize(
    ("spelled", "name", "address"),
    [
        ("/run/vm.sock", "", "/run/vm.sock"),
        ("localhost:4444", "", "localhost:4444"),
        ("qemu:/run/vm.sock", "", "/run/vm.sock"),
        ("stdio:ssh host socat - x", "", "ssh host socat - x"),
        ("stdio:a", "qemu", "stdio:a"),
        ("qemu:stdio:a", "", "stdio:a"),
        ("unix:/run/vm.sock,server=on,wait=off", "", "/run/vm.sock"),
        ("unix:/run/vm.sock,server,nowait", "qemu", "/run/vm.sock"),
        ("unix:/run/a,b.sock", "", "/run/a,b.sock"),
        ("tcp:[::1]:4444,server=on", "", "[::1]:4444"),
        ("stdio:unix:/run/vm.sock,server=on", "", "unix:/run/vm.sock,server=on"),
    ],
)
def test_a_prefix_is_a_backend_only_where_one_is_called_so(installed, spelled, name, address):
    """`host:port` stays an address; a chosen backend leaves the address alone."""
    installed(qemu=["json:loads"], stdio=["json:dumps"])
    assert find_backend(spelled, name)[1] == address


@pytest.mark.parametrize(
    ("backends", "code", "said"),
    [
        ({"qemu": ["json:loads"]}, "backend-unknown", "known: qemu"),
        ({"stdio": ["json:loads", "json:dumps"]}, "backend-ambiguous", "json:dumps"),
        ({"stdio": ["no_such_module:connect"]}, "backend-broken", "no_such_module"),
        ({"stdio": ["json:no_such_name"]}, "backend-broken", "no_such_name"),
    ],
)
def test_what_cannot_be_chosen_is_refused_by_name(installed, backends, code, said):
    """One error with a stable code and what helps."""
    installed(**backends)
    with pytest.raises(BadInput) as caught:
        find_backend("a", "stdio")
    assert caught.value.code == code
    assert said in f"{caught.value} {caught.value.problems}"


def test_one_distribution_found_twice_is_one(installed):
    """A path may name the same folder twice."""
    installed(stdio=["json:loads", "json:loads"])
    assert find_backend("stdio:a")[1] == "a"
