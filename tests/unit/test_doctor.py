"""`doctor` finds each thing that stands in the way, whatever else is shut, and tells no secret."""

import asyncio
import json
import stat

import pytest
from attrs import evolve

from backends.qemu import connect
from planner.doctor import around
from planner.doctor.abilities import design_abilities
from planner.doctor.around import frozen_findings
from planner.doctor.examining import examine, examine_around, examine_facts
from planner.doctor.finding import Area, Standing
from planner.doctor.redacting import without_secrets
from planner.errors import CannotConnect
from planner.host.rights import Rights
from planner.model.outside import outside_of
from planner.model.peripherals import Device
from planner.present.doctor_view import examination_text, examination_to_plain
from planner.store.store import Store, VmStore
from tests.support.contract import conforms
from tests.unit.build import facts, qcow2, raw
from tests.unit.snapshots import manifest, vm
from tests.unit.test_part_checks import frozen_part, frozen_vm

SECRETS = {
    "https://bob:hunter2@host/disk.qcow2": "https://host/disk.qcow2",
    "https://host/disk.qcow2?token=abc&x=1": "https://host/disk.qcow2?(left out)",
    'json:{"password": "hunter2", "file": "/a"}': 'json:{"password": "(left out)", "file": "/a"}',
    'json:{"cookie":"a\\"b"}': 'json:{"cookie":"(left out)"}',
    'json:{"encrypt.key-secret": "sec0"}': 'json:{"encrypt.key-secret": "sec0"}',
    "rbd:pool/image:key=AQD==:id=me": "rbd:pool/image:key=(left out):id=me",
    "cannot open, password=hunter2": "cannot open, password=(left out)",
    "/vm/monkey/secret-plans.qcow2": "/vm/monkey/secret-plans.qcow2",
}


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_told(text):
    """Users of URLs, their queries, and values whose names speak of a secret; ids and paths stay."""
    assert without_secrets(text) == SECRETS[text]


def checked(examination):
    """As JSON, which conforms, and as a text."""
    plain = examination_to_plain(examination)
    conforms("doctor", plain)
    return plain, examination_text(examination)


def codes(examination, standing=Standing.WRONG):
    return {each.code for each in examination.findings if each.standing is standing}


async def refused(address):
    raise CannotConnect(f"nobody at {address}", code="nobody-listens")


def unanswered(store):
    return asyncio.run(examine(store, "/vm/qmp", refused))


def test_a_vm_that_does_not_answer_is_a_finding(tmp_path):
    """And all else is looked at all the same."""
    found = unanswered(Store(tmp_path / "store"))
    assert codes(found) == {"nobody-listens"}
    assert {each.area for each in found.findings} >= {Area.HOST, Area.STORE, Area.RUNS}
    plain, text = checked(found)
    assert plain["designs"] == []
    assert "1 wrong" in text


def test_a_backend_that_breaks_is_a_finding(tmp_path):
    """One of others may raise anything, with any words."""

    async def broken(_address):
        raise ZeroDivisionError("hunter2")

    found = asyncio.run(examine(Store(tmp_path), "/vm/qmp", broken))
    assert codes(found) == {"cannot-connect"}
    assert "hunter2" not in examination_text(found)


def test_what_is_no_qmp_is_not_quoted(tmp_path):
    """Something else listens there, and greets with a secret."""
    path = str(tmp_path / "s")

    async def work():
        async def greet(_reader, writer):
            writer.write(b"220 hunter2 ready\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(greet, path):
            return await examine(Store(tmp_path / "store"), path, connect)

    found = asyncio.run(work())
    assert codes(found) == {"not-qmp"}
    assert "hunter2" not in json.dumps(checked(found))


def test_a_store_that_is_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        assert "store-unwritable" in codes(examine_around(Store(root)))


def test_a_store_of_somebody_else_cannot_be_written(tmp_path, monkeypatch):
    """By our rights, not by trying."""
    monkeypatch.setattr(around, "rights_of", lambda path: Rights(path, "folder", "root", 0o755))
    found = examine_around(Store(tmp_path))
    assert codes(found) == {"store-unwritable"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "words"), [(0o755, "look into"), (0o777, "write to")])
def test_a_store_that_is_open_to_others_is_noted(tmp_path, mode, words):
    tmp_path.chmod(mode)
    [note] = [
        each for each in examine_around(Store(tmp_path)).findings if each.code == "store-open"
    ]
    assert words in note.message
    tmp_path.chmod(0o700)
    assert codes(examine_around(Store(tmp_path)), Standing.NOTE) <= {"room-low"}


def test_a_damaged_journal_is_told_and_hides_nothing(tmp_path):
    """Whose it is nobody can tell, so it stands in nobody's way by itself."""
    folder = tmp_path / "vm" / "journals"
    folder.mkdir(parents=True)
    (folder / "x.journal").write_text("no journal\n")
    found = examine_around(Store(tmp_path))
    assert any(each.code.startswith("journal-") for each in found.findings)
    checked(found)


def test_what_is_on_and_what_is_outside_is_noted():
    """Settings (fact 64), an old generation, a folder of the host, a machine that has ended."""
    vm = facts(
        qcow2("a"),
        raw("b"),
        capabilities={"multifd": True, "events": True},
        devices=(Device("fs", "virtio-9p-pci", "fs0"),),
    )
    vm = evolve(vm, qemu=evolve(vm.qemu, major=9), run_state="guest-panicked")
    found = examine_facts(Store("/nowhere"), vm)
    assert codes(found) == {"run-state-unsupported"}
    assert codes(found, Standing.NOTE) >= {"settings-on", "qemu-untested", "storage-outside"}
    plain, text = checked(found)
    assert "multifd" in text
    assert {each["disk"]: each["parts"]["internal"]["possible"] for each in plain["disks"]} == {
        "a": True,
        "b": False,
    }
    assert outside_of(vm)


def test_each_design_says_what_it_can():
    """One image and a raw disk: what makes internal parts only cannot take the second."""
    there = {
        each.design: each for each in design_abilities(facts(qcow2("a")), lambda _p: False, "")
    }
    assert not there["monolithic"].problems
    assert there["monolithic"].machine_state == "machine state internal on a"
    assert {each.code for each in there["background"].problems} >= {"background-unsafe"}
    mixed = design_abilities(facts(qcow2("a"), raw("b")), lambda _p: False, "")
    able = {each.design: not each.problems for each in mixed}
    assert (able["monolithic"], able["transactional"]) == (False, True)


def test_a_guest_that_writes_to_a_frozen_image_is_wrong(tmp_path):
    """QEMU was started on the old image: the snapshot is being spoiled. On the overlay all is well."""
    store = VmStore(tmp_path)
    now = facts(qcow2("disk1"))
    store.write(manifest(vm(), parts=(frozen_part(),)))
    (found,) = frozen_findings(store, now)
    assert (found.code, found.standing) == ("part-overwritten", Standing.WRONG)
    assert "start QEMU on /vm/o.qcow2" in found.remedy
    assert list(frozen_findings(store, frozen_vm())) == []


def test_a_vm_without_disks_is_examined_too():
    checked(examine_facts(Store("/nowhere"), facts()))


def test_a_password_in_an_images_name_is_not_told():
    """QEMU may spell an image out with all its options."""
    name = 'json:{"driver": "iscsi", "password": "hunter2", "file": {"filename": "/vm/a"}}'
    found = examine_facts(Store("/nowhere"), facts(qcow2("a", filename=name), raw("b")))
    said = json.dumps(checked(found))
    assert "iscsi" in said
    assert "hunter2" not in said


def test_rights_are_those_of_the_socket(tmp_path, monkeypatch):
    """A socket that we may not write to cannot be connected to."""
    shut = Rights("/vm/qmp", "socket", "qemu", stat.S_IRWXU)
    monkeypatch.setattr(
        around, "rights_of", lambda path: shut if path == "/vm/qmp" else Rights(path)
    )
    assert "no-access" in codes(unanswered(Store(tmp_path)))
