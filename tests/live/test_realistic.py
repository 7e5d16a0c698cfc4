"""Machines as people run them, with a Linux guest that checks its memory and disks (`linux_guest`).

Each goes through a chain of five snapshots, back to the middle twice and to the end, and the deletion of
all.  One machine runs always; the others are for `script/versions` and its like (the marker `long`).
"""

import asyncio
import re
import socket
from itertools import pairwise

import pytest
import snapplan

from tests.live.runs import snapplan as command_line
from tests.support.fixtures import long
from tests.support.guest import heartbeats
from tests.support.linux_guest import LinuxMachine, kept_files, run_linux, start_linux
from tests.support.outside import emulated_tpm
from tests.support.user import belongs_to_nobody, nobody_words

pytestmark = pytest.mark.real_qemu

TAGS = ("one", "two", "three", "four", "five")
FIRMWARE = (
    *("-blockdev", "driver=file,node-name=code-file,read-only=on,filename={guest}/OVMF_CODE_4M.fd"),
    *("-blockdev", "driver=raw,node-name=code,read-only=on,file=code-file"),
    *("-blockdev", "driver=file,node-name=vars-file,filename={folder}/vars"),
    *("-machine", "pflash0=code,pflash1=vars"),
)
KEY = "secret,id=key,data=a-word"

MACHINES = {
    "scsi-iothread": LinuxMachine(
        words=(
            *("-object", "iothread,id=io0"),
            *("-device", "virtio-scsi-pci,id=scsi0,iothread=io0"),
            *("-blockdev", "driver=file,node-name=system-file,filename={folder}/system"),
            *("-blockdev", "driver=qcow2,node-name=system,file=system-file"),
            *("-device", "scsi-hd,drive=system,bus=scsi0.0,id=disk-system"),
            *(
                "-blockdev",
                "driver=qcow2,node-name=data,file.driver=file,file.filename={folder}/data",
            ),
            *("-device", "virtio-blk-pci,drive=data,id=disk-data,iothread=io0"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"),
            *("-device", "virtio-balloon-pci", "-device", "virtio-rng-pci", "-device", "pvpanic"),
        ),
        images=(("system", "qcow2"), ("data", "qcow2")),
    ),
    "uefi-drive": LinuxMachine(
        words=(
            *FIRMWARE,
            *("-blockdev", "driver=qcow2,node-name=vars,file=vars-file"),
            *("-drive", "file={folder}/system,if=virtio,format=qcow2"),
            *("-drive", "file={folder}/data,if=virtio,format=qcow2,cache=none,discard=unmap"),
            *("-device", "qemu-xhci", "-device", "usb-tablet", "-vga", "std"),
        ),
        images=(("system", "qcow2"), ("data", "qcow2")),
        copies=(("OVMF_VARS_4M.fd", "vars", "qcow2"),),
    ),
    "luks-backing": LinuxMachine(
        words=(
            *("-object", KEY),
            *("-blockdev", "driver=file,node-name=secret-file,filename={folder}/secret"),
            "-blockdev",
            "driver=qcow2,node-name=secret,file=secret-file,encrypt.format=luks,encrypt.key-secret=key",
            *("-device", "virtio-blk-pci,drive=secret,id=disk-secret"),
            *("-drive", "file={folder}/top,if=none,id=top,format=qcow2,cache=writeback"),
            *("-device", "virtio-blk-pci,drive=top,id=disk-top"),
        ),
        images=(
            ("base", "qcow2"),
            ("top", "qcow2", "-b", "{folder}/base", "-F", "qcow2"),
            *[
                (
                    "secret",
                    "qcow2",
                    "--object",
                    KEY,
                    "-o",
                    "encrypt.format=luks,encrypt.key-secret=key",
                )
            ],
        ),
    ),
}

NVME = LinuxMachine(
    words=(
        *(
            "-blockdev",
            "driver=qcow2,node-name=system,file.driver=file,file.filename={folder}/system",
        ),
        *("-device", "nvme,drive=system,serial=system,id=disk-system"),
        *("-blockdev", "driver=qcow2,node-name=data,file.driver=file,file.filename={folder}/data"),
        *("-device", "virtio-blk-pci,drive=data,id=disk-data"),
    ),
    images=(("system", "qcow2"), ("data", "qcow2")),
)


async def load(vm, snapshot, *, back=True):
    """Load it; the guest goes on from there, and agrees with its disks and memory.

    Args:
        vm: The VM.
        snapshot: What is loaded.
        back: Whether it is of an earlier round than the guest has come to by now.
    """
    since = len(vm.console())
    vm.wait_guest(3, since=since, timeout_s=240)
    await snapshot.load()
    after = len(vm.console())
    vm.wait_guest(3, since=after, timeout_s=240)
    rounds = heartbeats(vm.console()[since:])
    assert not back or any(later <= earlier for earlier, later in pairwise(rounds)), rounds


async def story(vm, store):
    """A chain of five, back to the middle twice, to the end, and all deleted."""
    async with snapplan.attach(vm.qmp_path, store=store) as attached:
        made = {}
        for tag in TAGS:
            made[tag] = await attached.save(tag)
            vm.wait_guest(2, since=len(vm.console()), timeout_s=240)
        for tag in ("three", "three", "five"):
            await load(vm, made[tag], back=tag != "five")  # that one may be ahead of the middle
        for tag in TAGS:
            assert (await made[tag].verify()).findings == ()
        for tag in ("two", "one", "five", "four", "three"):
            await made[tag].delete()
        assert await attached.snapshots() == ()
    vm.wait_guest(3, since=len(vm.console()), timeout_s=240)
    nodes = vm.qmp.execute("query-named-block-nodes")
    assert not [node for node in nodes if node["image"].get("snapshots")]


@pytest.mark.parametrize(
    "name", ["scsi-iothread", *long(*(sorted(set(MACHINES) - {"scsi-iothread"})))]
)
def test_a_machine_as_people_run_it(name, tmp_path):
    """Every snapshot can be gone back to, more than once, and all can be deleted."""
    with start_linux(MACHINES[name]) as vm:
        vm.wait_guest(4, timeout_s=400)
        asyncio.run(story(vm, tmp_path))


@pytest.mark.long
def test_a_machine_whose_qemu_is_another_user(tmp_path):
    """QEMU gives up being root, as distributions run it."""
    machine = MACHINES["scsi-iothread"]
    with kept_files(machine) as directory:
        belongs_to_nobody(directory)
        with run_linux(machine, directory, nobody_words()) as vm:
            vm.wait_guest(4, timeout_s=400)
            asyncio.run(story(vm, tmp_path))


@pytest.mark.long
def test_nvme_has_no_machine_state_and_its_disks_are_of_one_instant(tmp_path):
    """QEMU calls NVMe non-migratable: the disks are saved, and gone back to with QEMU ended."""
    with kept_files(NVME) as directory:
        with run_linux(NVME, directory) as vm:
            vm.wait_guest(4, timeout_s=400)

            async def save():
                async with snapplan.attach(vm.qmp_path, store=tmp_path) as attached:
                    return await attached.save("before", partial=True)

            assert not asyncio.run(save()).has_machine_state
            last = vm.wait_guest(6, since=len(vm.console()), timeout_s=240)[-1]
            vm.end()
        done = command_line("load", "before", "--offline", "--store", tmp_path, "--yes")
        assert done.returncode == 0, done.stderr
        with run_linux(NVME, directory) as vm:
            vm.wait_guest(4, timeout_s=400)
            [began] = re.findall(r"^START ([0-9a-f]{8})", vm.console(), re.MULTILINE)
    assert 0 < int(began, 16) < last


FULL = LinuxMachine(
    words=(
        *FIRMWARE,
        *("-blockdev", "driver=qcow2,node-name=vars,file=vars-file"),
        *(
            "-device",
            "pcie-root-port,id=port1,chassis=1",
            "-device",
            "pcie-root-port,id=port2,chassis=2",
        ),
        *(
            "-blockdev",
            "driver=qcow2,node-name=system,file.driver=file,file.filename={folder}/system",
        ),
        *("-device", "virtio-blk-pci,drive=system,id=disk-system"),
        *(
            "-device",
            "virtio-serial-pci",
            "-chardev",
            "socket,id=agent,path={folder}/agent,server=on,wait=off",
        ),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *(
            "-netdev",
            "user,id=net,hostfwd=tcp:127.0.0.1:0-:7",
            "-device",
            "virtio-net-pci,netdev=net",
        ),
    ),
    images=(("system", "qcow2"), ("more", "qcow2")),
    copies=(("OVMF_VARS_4M.fd", "vars", "qcow2"),),
)


def plug(vm):
    """A disk and a memory module come while the guest runs; it writes to the disk from then on."""
    image = {"driver": "file", "filename": str(vm.directory / "more")}
    vm.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": "more", "file": image})
    vm.qmp.execute(
        "device_add",
        {"driver": "virtio-blk-pci", "id": "disk-more", "drive": "more", "bus": "port1"},
    )
    vm.qmp.execute(
        "object-add", {"qom-type": "memory-backend-ram", "id": "ram1", "size": 128 << 20}
    )
    vm.qmp.execute("device_add", {"driver": "pc-dimm", "id": "dimm1", "memdev": "ram1"})
    vm.qmp.wait_until(
        lambda: "DISK vdb" in vm.console(),
        "the guest sees the second disk",
        timeout_s=240,
    )


def echo_port(vm):
    """The port of this machine behind which the guest says again what it is told."""
    told = vm.qmp.execute("human-monitor-command", {"command-line": "info usernet"})
    return int(re.search(r"HOST_FORWARD.*?127\.0\.0\.1\s+(\d+)", told).group(1))


def say_again(connection, word):
    connection.sendall(word)
    return connection.recv(len(word), socket.MSG_WAITALL)


@pytest.mark.long
def test_what_was_plugged_and_connected_survives(tmp_path):
    """UEFI, a TPM, an agent's port, an open network connection, a disk and memory that came later."""
    with emulated_tpm() as words, start_linux(FULL, words) as vm:
        vm.wait_guest(4, timeout_s=600)
        plug(vm)
        with socket.create_connection(("127.0.0.1", echo_port(vm)), timeout=240) as connection:
            assert say_again(connection, b"before") == b"before"

            async def work():
                async with snapplan.attach(vm.qmp_path, store=tmp_path) as attached:
                    one = await attached.save("one")
                    assert one.has_machine_state
                    vm.wait_guest(2, since=len(vm.console()), timeout_s=240)
                    two = await attached.save("two")
                    for snapshot in (one, one, two):
                        await load(vm, snapshot, back=snapshot is one)
                    assert {part.disk for part in two.parts} == {"system", "more", "vars"}
                    await one.delete()
                    await two.delete()

            asyncio.run(work())
            assert say_again(connection, b"after") == b"after"
        assert "FAIL" not in vm.console()
