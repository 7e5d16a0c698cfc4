"""A file system of a real Linux guest that its own agent freezes: whole in the snapshot."""

import asyncio
import json
import subprocess
import time

import pytest

from backends.guest_agent import GuestAgent
from planner.run.ports import ConnectionLost, NoReply
from tests.live.runs import snapplan
from tests.support.linux_guest import LinuxMachine, kept_files, run_linux
from tests.support.qemu import qemu_img_binary

pytestmark = [pytest.mark.real_qemu, pytest.mark.long, pytest.mark.timeout(1500)]

PATIENCE_S = 600.0
MOUNTS = ("-append", "console=ttyS0 quiet loglevel=0 checker.mib=24 checker.mount=/dev/vdb")
MACHINE = LinuxMachine(
    words=(
        *("-drive", "file={folder}/system,if=none,id=system,format=qcow2"),
        *("-device", "virtio-blk-pci,drive=system,id=disk-system"),
        *("-drive", "file={folder}/files,if=none,id=files,format=qcow2"),
        *("-device", "virtio-blk-pci,drive=files,id=disk-files"),
        *("-chardev", "socket,id=agent,path={folder}/agent,server=on,wait=off"),
        *("-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *MOUNTS,
    ),
    images=(("system", "qcow2"),),
)


def run(*words):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words[0]}: {done.stdout} {done.stderr}"
    return done.stdout


def make_files(directory):
    """An image with an empty ext4 file system."""
    raw = directory / "files.raw"
    with raw.open("wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", raw)
    run(qemu_img_binary(), "convert", "-f", "raw", "-O", "qcow2", raw, directory / "files")
    raw.unlink()


def wait_agent(path):
    """Wait until the guest's agent answers."""

    async def asked():
        agent = GuestAgent(str(path))
        try:
            return await agent.status(10.0)
        finally:
            await agent.close()

    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            assert asyncio.run(asked()) == "thawed"
        except (ConnectionLost, NoReply):
            continue
        return
    raise AssertionError("the guest's agent does not answer")


def needs_replay(directory, *of):
    """Whether the file system says that its journal is to be replayed; whole: fsck finds nothing.

    Args:
        directory: Of the machine.
        of: What is read of the image, in qemu-img's words; empty: what it holds now.
    """
    raw = directory / "read.raw"
    words = ("convert", "-f", "qcow2", "-O", "raw", *of, directory / "files", raw)
    run(qemu_img_binary(), *words)
    features = run("dumpe2fs", "-h", raw).partition("Filesystem features:")[2].splitlines()[0]
    replay = "needs_recovery" in features
    if not replay:
        run("e2fsck", "-f", "-n", raw)
    raw.unlink()
    return replay


def test_what_the_agent_froze_needs_no_replay_of_its_journal(tmp_path):
    """And is written to again afterwards; the disk alone that went back is whole."""
    store = ("--store", tmp_path)
    with kept_files(MACHINE) as directory:
        make_files(directory)
        with run_linux(MACHINE, directory) as vm:
            vm.wait_guest(4, timeout_s=PATIENCE_S)
            assert "MOUNTED /dev/vdb" in vm.console()
            wait_agent(directory / "agent")
            for tag in ("torn", "frozen"):
                parts = {"system": "internal", "files": "internal"}
                request = {"tag": tag, "machine-state": "none", "disks": parts}
                if tag == "frozen":
                    agent = {"agent": str(directory / "agent"), "at-most": 120}
                    request["freeze-filesystems"] = agent
                made = snapplan("apply", "-", "--vm", vm.qmp_path, *store, text=json.dumps(request))
                assert made.returncode == 0, made.stderr
                vm.wait_guest(2, since=len(vm.console()), timeout_s=PATIENCE_S)
            wait_agent(directory / "agent")  # and it says that nothing is frozen
            vm.end()
        assert needs_replay(directory, "-l", "snapshot.name=torn")
        assert not needs_replay(directory, "-l", "snapshot.name=frozen")
        assert needs_replay(directory), "the guest went on writing"
        loaded = snapplan("load", "frozen", "--offline", "--yes", *store)
        assert loaded.returncode == 0, loaded.stderr
        assert not needs_replay(directory)
