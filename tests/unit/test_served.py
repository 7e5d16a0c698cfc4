"""Where a disk is served is read from what QEMU says of it, and nothing is made up."""

import pytest
from attrs import evolve

from planner.cli import inspect_command
from planner.host.listening import ListeningQemu
from planner.model.peripherals import Device, peer_of
from planner.model.served import address_of_disk, served_at
from tests.unit.build import facts, qcow2

NESTED = '{"driver": "raw", "file": {"driver": "nbd", "server": {"type": "unix", "path": "/x"}}}'
FLAT = '{"driver": "nbd", "server.type": "inet", "server.host": "h", "server.port": "1"}'


@pytest.mark.parametrize(
    ("filename", "address"),
    [
        ("nbd+unix:///disk1?socket=/run/a b:c.nbd", "unix:/run/a b:c.nbd"),
        ("nbd+unix:///x?socket=/fake?socket=/real", "unix:/real"),
        ("nbd+unix:///disk1", ""),
        ("nbd://localhost:10809/disk1", "localhost:10809"),
        ("nbd://[::1]:10809/disk1", "[::1]:10809"),
        (f"json:{NESTED}", "unix:/x"),
        (f"json:{FLAT}", "h:1"),
        ("json:[", ""),
        ('json:{"driver": "file", "filename": "/a"}', ""),
        ("/vm/disk.qcow2", ""),
        ("ssh://u@h:22/disk", ""),
        ("", ""),
    ],
)
def test_the_address_of_an_nbd_disk(filename, address):
    """Of every spelling that QEMU has for it."""
    assert address_of_disk(evolve(qcow2("d"), filename=filename)) == address


@pytest.mark.parametrize(
    ("reply", "peer"),
    [
        ({"type": "unix", "path": "/run/a.vhost", "abstract": False}, "unix:/run/a.vhost"),
        ({"type": "unix", "path": "a", "abstract": True}, ""),
        ({"type": "inet", "host": "::1", "port": "1"}, "::1:1"),
        ({"type": "fd", "str": "7"}, ""),
        ({"type": "unix", "path": 7}, ""),
        (None, ""),
        ([], ""),
    ],
)
def test_where_a_chardev_is_connected(reply, peer):
    """A unix socket with a path, or TCP; of another answer nothing is concluded."""
    assert peer_of(reply) == peer


def test_every_name_of_a_served_disk_leads_to_its_address():
    """A device by its id and path, an NBD disk by its node and drive."""
    device = Device("vud0", "vhost-user-blk-pci", "chr0", "unix:/a")
    nbd = evolve(qcow2("nb"), filename="nbd+unix:///x?socket=/b", drive_id="drv")
    found = served_at(evolve(facts(qcow2("disk0"), nbd), devices=(device,)))
    assert found == {
        **dict.fromkeys(("vud0", "/machine/peripheral/vud0"), "unix:/a"),
        **dict.fromkeys(nbd.names, "unix:/b"),
    }
    assert {"nb", "drv"} <= set(found)


def test_a_served_disk_is_told_once_and_who_listens_is_looked_for_once(monkeypatch):
    """Under its first name, however many it has; two disks at one socket need one look."""
    looked = []

    def look(path):
        looked.append(path)
        return ListeningQemu(7, "qemu-storage-daemon", (path, "/run/qmp"))

    monkeypatch.setattr(inspect_command, "listener_at", look)
    disks = [
        evolve(qcow2(name), filename=f"nbd+unix:///{name}?socket=/b", drive_id=f"drive-{name}")
        for name in ("nb", "more")
    ]
    found = inspect_command._listeners(facts(qcow2("disk0"), *disks))
    assert found == dict.fromkeys(("nb", "more"), ("qemu-storage-daemon 7", ("/b", "/run/qmp")))
    assert looked == ["/b"]
