"""Whether memory can be write-protected is looked up where QEMU would look, and never guessed."""

import os

import pytest

from planner.compile.plan import compile_request
from planner.errors import Refused
from planner.host import write_tracking
from planner.host.write_tracking import with_write_tracking
from planner.model.facts import WriteTracking
from planner.model.peripherals import HostObject
from tests.unit.build import facts, qcow2, streamed

PID = 4711
FIRST_NAMESPACE = "         0          0 4294967295\n"


def processes(root, *, uid=1000, capabilities=0, sysctl="0", uid_map=FIRST_NAMESPACE, comm="qemu"):
    """A /proc with one process in it."""
    process = root / str(PID)
    (process / "root/dev").mkdir(parents=True)
    (process / "comm").write_text(f"{comm}\n")
    status = f"Name:\tq\nUid:\t0 {uid} 0 0\nGid:\t0 {uid} 0 0\nGroups:\t36 107\n"
    (process / "status").write_text(f"{status}CapEff:\t{capabilities:016x}\n")
    (process / "uid_map").write_text(uid_map)
    if sysctl:
        (root / "sys/vm").mkdir(parents=True)
        (root / "sys/vm/unprivileged_userfaultfd").write_text(f"{sysctl}\n")
    return process


@pytest.fixture
def look(tmp_path, monkeypatch):
    monkeypatch.setattr(write_tracking, "_PROC", tmp_path)
    sysctl = tmp_path / "sys/vm/unprivileged_userfaultfd"
    monkeypatch.setattr(write_tracking, "_UNPRIVILEGED", sysctl)

    def answer(device=None, **how):
        process = processes(tmp_path, **how)
        if device is not None:
            (process / "root/dev/userfaultfd").symlink_to(device)
        return with_write_tracking(facts(qcow2("disk0")), PID).write_tracking

    return answer


def test_everybody_may(look):
    """By the sysctl."""
    assert look(sysctl="1") is WriteTracking.ALLOWED


def test_a_capability_of_the_machine_allows_it(look):
    """CAP_SYS_PTRACE, in the first user namespace."""
    assert look(capabilities=1 << 19) is WriteTracking.ALLOWED


def test_a_capability_of_a_container_says_nothing(look):
    """Root of a container is nobody to the kernel; what else is granted there cannot be seen."""
    container = "0 100000 65536\n"
    assert look(capabilities=1 << 19, uid_map=container) is WriteTracking.UNKNOWN


@pytest.mark.parametrize("device", ["/dev/null", None])
def test_the_device_allows_it_to_whom_its_mode_does(look, device):
    """A device that everybody may read and write; none at all."""
    expected = WriteTracking.DENIED if device is None else WriteTracking.ALLOWED
    assert look(device) is expected


def test_what_is_no_device_allows_nothing(look, tmp_path):
    """A file of that name."""
    plain = tmp_path / "plain"
    plain.touch(0o666)
    assert look(plain) is WriteTracking.DENIED


def test_a_kernel_without_it(look):
    """Neither device nor sysctl."""
    assert look(sysctl="") is WriteTracking.LACKING


def test_who_is_no_qemu_is_not_judged(look):
    """A relay, or the simulator."""
    assert look(comm="socat") is WriteTracking.UNKNOWN


def test_a_peer_that_is_not_known_says_nothing():
    """Over TCP, for one."""
    known = facts(qcow2("disk0"))
    assert with_write_tracking(known, None) is known
    assert with_write_tracking(known, 2**22 + 1) == known


def test_the_file_system_of_a_memory_file(tmp_path):
    """By the number of its device, in the mounts of QEMU's own namespace."""
    process = processes(tmp_path / "p")
    (process / "root/m").mkdir()
    (process / "root/m/ram").touch()
    number = (process / "root/m").stat().st_dev
    mount = f"22 1 {os.major(number)}:{os.minor(number)} / /m rw,relatime shared:1 - ext4 /dev/x rw"
    (process / "mountinfo").write_text(f"21 1 0:999 / /n rw - tmpfs t rw\n{mount}\n")
    assert write_tracking._filesystem(process, "/m/ram") == "ext4"
    assert write_tracking._filesystem(process, "/m/gone") == "ext4"
    assert write_tracking._filesystem(process, "/x/y/z") == ""


def refusal(**more):
    with pytest.raises(Refused) as error:
        compile_request(
            streamed("background", "disk0"), facts(qcow2("disk0"), version="10.0", **more)
        )
    return [(problem.code, problem.subject) for problem in error.value.problems]


@pytest.mark.parametrize("state", [WriteTracking.DENIED, WriteTracking.LACKING])
def test_background_is_refused_where_nothing_can_be_protected(state):
    """And other captures are not."""
    assert refusal(write_tracking=state) == [("write-tracking-impossible", "vm")]
    the_facts = facts(qcow2("disk0"), version="10.0", write_tracking=state)
    assert compile_request(streamed("live", "disk0"), the_facts)


@pytest.mark.parametrize(
    ("filesystem", "refused"),
    [("ext4", True), ("xfs", True), ("tmpfs", False), ("hugetlbfs", False), ("", False)],
)
def test_background_with_memory_in_a_file(filesystem, refused):
    """On a disk it is refused; where that is not known QEMU has the last word."""
    memory = HostObject("mem", "memory-backend-file", shared=True, path="/x", filesystem=filesystem)
    if refused:
        assert refusal(objects=(memory,)) == [("write-tracking-impossible", "mem")]
        return
    the_facts = facts(qcow2("disk0"), version="10.0", objects=(memory,))
    assert compile_request(streamed("background", "disk0"), the_facts)
