"""A libvirtd and a domain of the QEMU under test, for an experiment."""

import json
import subprocess
import xml.etree.ElementTree as ET

from backends.qemu_facts.lab.binaries import qemu_binary
from backends.qemu_facts.lab.experiment import resource
from backends.qemu_facts.lab.libvirt import Libvirtd, elsewhere, libvirtd, tied_as_user
from backends.qemu_facts.lab.outcome import NotRun


class OfTheQemu(Libvirtd):
    """One whose domains are of the QEMU under test."""

    @property
    def emulator(self):
        """The one that was chosen; another libvirt has its own."""
        return "" if elsewhere() else qemu_binary()


@resource(kept=True)
def domain():
    """One that runs on two disks; all experiments have the same."""
    if not elsewhere():
        asked = [*tied_as_user(), qemu_binary(), "--version"]
        if subprocess.run(asked, capture_output=True, check=False).returncode:
            raise NotRun(f"libvirt's user cannot run {qemu_binary()}")
    with libvirtd(OfTheQemu) as daemon:
        yield daemon.domain()


def snapshot(domain, disk, overlay):
    """Have libvirt put an overlay, made before, on one of the domain's two disks."""
    [other] = {domain.target(0), domain.target(1)} - {disk}
    how = ("--disk-only", "--reuse-external", "--no-metadata", "--atomic")
    specs = (f"{disk},snapshot=external,file={overlay}", f"{other},snapshot=no")
    words = [word for spec in specs for word in ("--diskspec", spec)]
    domain.daemon.virsh("snapshot-create-as", domain.name, *how, *words)


def commit(domain, disk):
    """Have libvirt merge the overlay into the image under it."""
    domain.daemon.virsh("blockcommit", domain.name, disk, "--active", "--pivot", "--wait")


def numbers(domain):
    """By file, the number that libvirt gives to each image of the domain as it runs."""
    shown = ET.fromstring(domain.daemon.virsh("dumpxml", domain.name))  # noqa: S314 - libvirt's own
    return {source.get("file"): source.get("index") for source in shown.iter("source")}


def numbers_at_start(line):
    """By file, the number of each image on the QEMU's command line."""
    found = {}
    for word in line.split("\0"):
        if word.startswith('{"driver":"file"'):
            node = json.loads(word)
            found[node["filename"]] = node["node-name"].split("-")[1]
    return found
