"""Facts 78 to 88: memory in a file of its own, the devices' state in a stream, and clones of both.

A template is made once for all tests; who changes its memory does so with a copy.
"""

import contextlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.support.balloon import BALLOON, inflate, qtest_words
from tests.support.migration import migrate_to, set_capabilities, wait_migration
from tests.support.qemu import command_line, qemu_binary
from tests.support.qmp import QmpClosed, QmpError
from tests.support.templates import (
    IGNORE_SHARED,
    MEMORY_MIB,
    Templates,
    mapped_kib,
    memory_words,
    read_state,
)

pytestmark = pytest.mark.real_qemu

LONG = pytest.mark.long
SINCE_READ_ONLY = pytest.mark.qemu_versions(since=(8, 2))
BEFORE_READ_ONLY = pytest.mark.qemu_versions(before=(8, 2))
SINCE_BACKGROUND = pytest.mark.qemu_versions(since=(8, 2))
MIB = 1 << 20
A_PAGE_OF_THE_GUEST = 0x30000
"""It demands its own counter there."""
ALL_DISKS = ("disk0", "disk1")


@pytest.fixture(scope="module")
def shared_template(tmp_path_factory):
    template = Templates(tmp_path_factory.mktemp("template"))
    template.save_source()
    template.make()
    return template


@pytest.fixture
def template(shared_template, tmp_path):
    """A template whose files are the test's own."""
    mine = Templates(tmp_path / "mine")
    shutil.copytree(shared_template.directory, mine.directory)
    return mine


def private(memory, **more):
    return memory_words(memory, share=False, **more)


def shared(memory, **more):
    return memory_words(memory, share=True, **more)


def goes_on(vm):
    """Let the guest run, and judge what it finds in its memory and on its disks."""
    since = len(vm.console())
    vm.execute("cont")
    return vm.wait_guest(2, since=since)


def refused_to_read(template, *words, names=(IGNORE_SHARED,)):
    """What QEMU wrote when it ended over the template's state."""
    with template.waiting(*words) as vm:
        with pytest.raises(QmpClosed):
            read_state(vm, template.state, *names)
        assert vm.wait_death() == 1
        return vm.stderr()


def refused_to_start(template, *words):
    """What QEMU wrote when it did not even start."""
    arguments = [*command_line(template.directory, template.topology), *words, "-S"]
    done = subprocess.run(
        [qemu_binary(), *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    return done.stderr


@contextlib.contextmanager
def unchanged(memory):
    """What is done here leaves a file's bytes as they are."""
    before = memory.read_bytes()
    yield
    assert memory.read_bytes() == before


# --- 78: it works -------------------------------------------------------------------------------


def test_fact_78_clones_run_at_once_and_leave_the_memory_as_it_is(template):
    """Three, on one file, each in its own memory; the state is small."""
    assert template.state.stat().st_size < MIB < template.stream.stat().st_size
    file = template.memory.stat()
    assert (file.st_size, file.st_mode & 0o777) == (MEMORY_MIB * MIB, 0o600)
    with unchanged(template.memory), contextlib.ExitStack() as running:
        clones = [running.enter_context(template.clone()) for _ in range(3)]
        said = [goes_on(clone) for clone in clones]
        assert said[0][:2] == said[1][:2] == said[2][:2], "each goes on from the same instant"


@LONG
def test_fact_78_what_the_guest_never_had_takes_no_room(shared_template):
    """The file is sparse."""
    file = shared_template.memory.stat()
    assert file.st_blocks * 512 < file.st_size // 2


@LONG
@SINCE_BACKGROUND
def test_fact_78_from_a_stream_captured_in_the_background(tmp_path):
    template = Templates(tmp_path)
    template.save_source(names=("background-snapshot",))
    template.make()
    with template.clone() as vm:
        goes_on(vm)


@LONG
def test_fact_78_the_ids_that_machines_give_their_memory(shared_template):
    """`query-machines` knows: `pc.ram` on every pc and q35, another on microvm, some have none."""
    with shared_template.start("-S") as vm:
        ids = {
            machine["name"]: machine.get("default-ram-id")
            for machine in vm.execute("query-machines")
        }
        own = [memory["id"] for memory in vm.execute("query-memdev")]
    assert own == ["pc.ram"], "made by QEMU, under the machine's name for it"
    assert {ids["microvm"], ids["none"], ids["x-remote"]} == {"microvm.ram", "ram", None}
    assert {ram for name, ram in ids.items() if name.startswith("pc-")} == {"pc.ram"}


@LONG
def test_fact_78_memory_that_has_objects_already(template):
    """Two nodes, an object each: two files, and the state is as small."""

    def nodes(kind, *, share):
        for number in range(2):
            file = template.directory / f"ram{number}" if kind.endswith("file") else None
            words = memory_words(file, share=share, kind=kind, name=f"m{number}", mib=32)
            yield from (*words[:2], "-numa", f"node,nodeid={number},cpus={number},memdev=m{number}")

    two = ("-smp", "2")
    template.save_source(*two, *nodes("memory-backend-ram", share=False))
    template.make(*two, *nodes("memory-backend-file", share=True))
    assert template.state.stat().st_size < MIB
    with template.clone(*two, *nodes("memory-backend-file", share=False)) as vm:
        goes_on(vm)


# --- 79: what is refused in clear words ---------------------------------------------------------


def test_fact_79_the_capability_is_wanted_on_both_sides(template):
    """It is in the stream, and QEMU ends over the difference, either way."""
    words = private(template.memory)
    said = refused_to_read(template, *words, names=())
    assert "Capability x-ignore-shared is off, but received capability is on" in said
    template.make(names=())
    said = refused_to_read(template, *words)
    assert "Capability x-ignore-shared is on, but received capability is off" in said


@LONG
def test_fact_79_a_maker_that_has_it_on_cannot_read_the_source(template):
    """The source's stream was written without."""
    with template.waiting(*shared(template.directory / "new")) as vm:
        with pytest.raises(QmpClosed):
            read_state(vm, template.stream, IGNORE_SHARED)
        assert vm.wait_death() == 1


@LONG
def test_fact_79_nothing_can_be_written_before_it_was_read(template):
    with template.waiting(*shared(template.directory / "new")) as vm:
        set_capabilities(vm, IGNORE_SHARED)
        with pytest.raises(QmpError, match="Guest is waiting for an incoming migration"):
            migrate_to(vm, template.directory / "early")


@LONG
def test_fact_79_a_file_that_is_too_small_or_of_another_name(template):
    """Too small: QEMU does not start, as if the object has another size than the VM."""
    with template.memory.open("r+b") as memory:
        memory.truncate(MEMORY_MIB * MIB // 2)
    assert "backing store size" in refused_to_start(template, *private(template.memory))
    words = private(template.directory / "new", mib=96)
    assert "Machine memory size does not match" in refused_to_start(template, *words)
    said = refused_to_read(template, *private(template.directory / "other", name="mem0"))
    assert 'Unknown ramblock "pc.ram", cannot accept migration' in said


# --- 80 and 81: memory that is not this template's ----------------------------------------------


def test_fact_80_a_restore_that_shares_writes_into_the_template(template):
    """It runs, and right; the next clone finds the memory of a guest that ran on."""
    before = template.memory.read_bytes()
    with template.clone(*shared(template.memory)) as vm:
        goes_on(vm)
    assert template.memory.read_bytes() != before
    assert next_clone_fails(template)


def next_clone_fails(template, *words):
    """Whether a clone refuses the memory, or runs on it and finds it wrong."""
    with template.waiting(*private(template.memory), *words) as vm:
        with contextlib.suppress(QmpClosed):
            read_state(vm, template.state, IGNORE_SHARED)
            vm.execute("cont")
            return vm.wait_guest_fails()
        return vm.stderr()


def test_fact_81_memory_of_another_content_is_mapped_without_a_word(template):
    """A byte of it, or all of it: nothing in the state says which memory it belongs to."""
    with template.memory.open("r+b") as memory:
        memory.seek(A_PAGE_OF_THE_GUEST)
        memory.write(b"\xee")
    with template.clone() as vm:
        vm.execute("cont")
        assert "FAIL ram" in vm.wait_guest_fails()


@LONG
def test_fact_81_a_file_that_is_too_big_is_mapped(template):
    with template.memory.open("ab") as memory:
        memory.write(bytes(MIB))
    with template.clone() as vm:
        goes_on(vm)


@LONG
def test_fact_81_a_file_that_is_not_there_is_made(template):
    """Of zeros. What comes of it depends on the devices: these look into memory, and fail."""
    template.memory.unlink()
    with template.waiting(*private(template.memory)):
        assert template.memory.stat().st_size == MEMORY_MIB * MIB
        assert template.memory.stat().st_blocks == 0
    assert "load of migration failed" in refused_to_read(template, *private(template.memory))


# --- 82: who changes a template -----------------------------------------------------------------


def test_fact_82_a_maker_that_runs_on_changes_the_memory_that_it_wrote(template):
    """`cont` after `migrate` is accepted."""
    with template.waiting(*shared(template.directory / "new")) as vm:
        read_state(vm, template.stream)
        set_capabilities(vm, IGNORE_SHARED)
        wait_migration(vm, "completed", since=migrate_to(vm, template.state))
        before = (template.directory / "new").read_bytes()
        goes_on(vm)
    assert (template.directory / "new").read_bytes() != before


@LONG
def test_fact_82_clones_see_what_is_written_to_the_file(template):
    """In the pages that they have not written themselves; a name that goes does not matter."""
    with template.clone() as vm:
        with template.memory.open("r+b") as memory:
            memory.seek(A_PAGE_OF_THE_GUEST)
            memory.write(b"\xee")
        vm.execute("cont")
        assert "FAIL ram" in vm.wait_guest_fails()


@LONG
def test_fact_82_without_its_name_it_is_still_there_and_cut_short_it_kills(template):
    other = template.directory / "other"
    shutil.copy(template.memory, other)
    with template.clone(*private(other)) as vm:
        other.unlink()
        goes_on(vm)
    with template.clone() as vm:
        os.truncate(template.memory, 0)
        with pytest.raises(QmpClosed):
            goes_on(vm)
        assert vm.wait_death() < 0


@LONG
def test_fact_82_discard_data_empties_what_is_shared(template):
    """When QEMU ends; what is mapped private it leaves alone."""
    words = private(template.memory, more=",discard-data=on")
    with unchanged(template.memory), template.clone(*words) as vm:
        vm.end()
    with template.clone(*shared(template.memory, more=",discard-data=on")) as vm:
        vm.end()
    assert template.memory.stat().st_blocks == 0


# --- 83 and 84: the balloon, and a file that is opened to be read ---------------------------------


@pytest.fixture
def with_balloon(tmp_path):
    template = Templates(tmp_path / "balloon")
    template.directory.mkdir()
    template.save_source(*BALLOON)
    template.make(*shared(template.memory), *BALLOON)
    return template


def inflated(template, tmp_path, more=""):
    """Give a page of a clone to its balloon; what QEMU wrote."""
    channel = tmp_path / "qtest"
    words = (*private(template.memory, more=more), *BALLOON, *qtest_words(channel))
    with template.clone(*words) as vm:
        inflate(vm, channel, A_PAGE_OF_THE_GUEST)
        return vm.stderr()


def test_fact_83_a_balloon_punches_holes_into_the_template(with_balloon, tmp_path):
    """Though it is mapped private: the next clone lacks that page."""
    inflated(with_balloon, tmp_path)
    with with_balloon.memory.open("rb") as memory:
        memory.seek(A_PAGE_OF_THE_GUEST)
        assert memory.read(4096) == bytes(4096)
    assert "FAIL ram" in next_clone_fails(with_balloon, *BALLOON)


@SINCE_READ_ONLY
def test_fact_83_not_into_a_file_that_is_open_to_be_read(with_balloon, tmp_path):
    with unchanged(with_balloon.memory):
        said = inflated(with_balloon, tmp_path, ",readonly=on,rom=off")
    assert "Discarding RAM with readonly files is not supported" in said


@SINCE_READ_ONLY
def test_fact_84_opened_to_be_read_it_is_memory_all_the_same(template):
    with unchanged(template.memory):
        words = private(template.memory, more=",readonly=on,rom=off")
        with template.clone(*words) as vm:
            goes_on(vm)
            open_as = {
                Path(f"/proc/{vm.process.pid}/fdinfo", fd.name).read_text().split("\n")[1]
                for fd in Path(f"/proc/{vm.process.pid}/fd").iterdir()
                if fd.exists() and fd.samefile(template.memory)
            }
    assert {int(line.split()[1], 8) & os.O_ACCMODE for line in open_as} == {os.O_RDONLY}


@LONG
@BEFORE_READ_ONLY
def test_fact_84_before_8_2_there_is_no_such_option(template):
    words = private(template.memory, more=",readonly=on,rom=off")
    assert "Invalid parameter 'rom'" in refused_to_start(template, *words)


@LONG
def test_fact_84_without_it_the_guest_cannot_write(template):
    """It loads, `cont` is accepted, and nothing comes of it; the first write repeats for ever."""
    with template.clone(*private(template.memory, more=",readonly=on")) as vm:
        vm.execute("cont")
        assert vm.status() == "running"
        assert vm.process.poll() is None
        assert vm.console() == ""


# --- 85: memory that is shared, and no file ------------------------------------------------------


@LONG
@pytest.mark.parametrize("kind", ["memory-backend-memfd", "memory-backend-ram"])
def test_fact_85_memory_without_a_name_is_no_template(template, kind):
    """7.2 leaves it out of the stream all the same: it is lost when the maker ends."""
    template.make(*memory_words(None, share=True, kind=kind))
    with template.start("-S") as vm:
        left_out = vm.version < (8, 2)
    assert (template.state.stat().st_size < MIB) == left_out


@LONG
def test_fact_85_memory_that_is_not_shared_is_written(template):
    """And the file stays empty; what is written is an ordinary stream with the capability in it."""
    memory = template.directory / "new"
    template.make(*private(memory))
    assert (memory.stat().st_blocks, template.state.stat().st_size > MIB) == (0, True)
    with template.clone(*private(memory)) as vm:
        goes_on(vm)
    assert "should not be migrated" in refused_to_read(template, *shared(memory))


# --- 86: the capability, left on in a clone ------------------------------------------------------


@LONG
def test_fact_86_a_clone_that_has_it_on_saves_what_nobody_else_loads(template):
    """The memory is in the snapshot, for a clone maps it private; and the capability is, too."""
    with template.clone() as vm:
        goes_on(vm)
        assert vm.save("a", ALL_DISKS, "disk0") is None
        vm.execute("stop")
        assert vm.load("a", ALL_DISKS, "disk0") is None
        off = [{"capability": IGNORE_SHARED, "state": False}]
        vm.execute("migrate-set-capabilities", capabilities=off)
        assert vm.load("a", ALL_DISKS, "disk0") is not None
        assert "received capability is on" in vm.stderr()


@LONG
def test_fact_86_switched_off_again_it_saves_like_any_other(template):
    with template.clone() as vm:
        off = [{"capability": IGNORE_SHARED, "state": False}]
        vm.execute("migrate-set-capabilities", capabilities=off)
        goes_on(vm)
        assert vm.save("a", ALL_DISKS, "disk0") is None
        vm.execute("stop")
        assert vm.load("a", ALL_DISKS, "disk0") is None
        goes_on(vm)


# --- 87: what a clone costs ----------------------------------------------------------------------


def test_fact_87_a_clone_has_no_page_of_its_own_until_it_writes(template):
    """And `prealloc` gives it all of them, as a copy."""
    with template.clone() as vm:
        assert mapped_kib(vm, template.memory, "Anonymous") == 0
        assert mapped_kib(vm, template.memory, "Rss") < 1024
        goes_on(vm)
        assert 0 < mapped_kib(vm, template.memory, "Anonymous") < 8 * 1024
    with template.clone(*private(template.memory, more=",prealloc=on")) as vm:
        assert mapped_kib(vm, template.memory, "Anonymous") == MEMORY_MIB * 1024


# --- 88: who else may read it, and what stays one's own ------------------------------------------


@LONG
@pytest.mark.parametrize(("guid", "same"), [("auto", False), (str(uuid.uuid4()), True)])
def test_fact_88_vmgenid_is_what_the_clone_was_given(tmp_path, guid, same):
    """`auto`: another one in each clone, and in its memory. Spelt out: the same in all."""
    device = ("-device", f"vmgenid,id=vmgenid0,guid={guid}")
    template = Templates(tmp_path)
    template.save_source(*device)
    template.make(*shared(template.memory), *device)
    found = []
    for number in range(2):
        with template.clone(*private(template.memory), *device) as vm:
            found.append(vm.execute("query-vm-generation-id")["guid"])
            dump = tmp_path / f"dump{number}"
            vm.execute("pmemsave", val=0, size=MEMORY_MIB * MIB, filename=str(dump))
            assert uuid.UUID(found[-1]).bytes_le in dump.read_bytes()
    assert (found[0] == found[1]) == same
