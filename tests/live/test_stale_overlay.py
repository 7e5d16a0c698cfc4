"""An overlay that was merged once is never merged again: what the guest wrote since is not lost.

snapplan, or it and QEMU, die at each command of `delete --overlays commit`; then whatever the user does
next (`recover`, `delete --offline`), the newest of what the guest wrote is in one file, which is named.
"""

import signal
import subprocess

import pytest

from tests.live.external import FIRMWARE, external_request
from tests.live.faults import assert_guest_unharmed, start
from tests.live.gate import Gate
from tests.live.idle import idle_qemu
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.support import guest
from tests.support.qemu import qemu_img_binary, run_qemu
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

UUID = "8c1d9a52-6a0b-4a57-9a3e-51f8f4f6a0c3"
DISKS = (DiskSpec("disk0"), DiskSpec("disk1"), DiskSpec(FIRMWARE, DiskKind.RAW))
COMMIT = ("--overlays", "commit", "--yes", "--json")
COMMANDS = ("block-commit", "stop", "job-complete", "job-dismiss", "blockdev-del", "cont")


def sampled(*always):
    """Before and after each command; all but these in campaigns."""
    places = [(command, after) for command in COMMANDS for after in (False, True)]
    return [
        pytest.param(*place, marks=() if place in always else pytest.mark.long) for place in places
    ]


class Saved:
    """A VM whose raw disk is frozen under an overlay, with the machine state in a file."""

    def __init__(self, qemu, folder, capture="none"):
        self.vm = start(qemu, Topology(DISKS, guest=True, extra_args=("-uuid", UUID)))
        self.store = folder / "store"
        request = folder / "request.yaml"
        request.write_text(external_request(self.vm, capture))
        done = self.run("apply", request, "--vm", self.vm.qmp_path)
        assert done.returncode == 0, done.stderr
        self.said = done.stdout
        self.base = self.vm.image(FIRMWARE)
        self.overlay = self.vm.directory / f"a.{FIRMWARE}.qcow2"
        self.state = self.vm.directory / "a.state"
        self.works()

    def run(self, *words):
        done = snapplan(*words, "--store", self.store)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def works(self):
        """The guest goes on, where it runs."""
        if self.vm.status() == "running":
            self.vm.wait_guest(3, since=len(self.vm.console()))

    def end(self):
        """QEMU is killed, as by a power cut; what it had written is in the files."""
        self.vm.process.kill()
        self.vm.process.wait(30)

    def in_base(self):
        return guest.last_counter(self.base.read_bytes())

    def in_overlay(self):
        """What a QEMU that is started on the overlay would find; -1 where there is none."""
        if not self.overlay.exists():
            return -1
        raw = self.overlay.with_suffix(".as-raw")
        command = [
            qemu_img_binary(),
            "convert",
            "-U",
            "-f",
            "qcow2",
            "-O",
            "raw",
            self.overlay,
            raw,
        ]
        subprocess.run(command, check=True)
        return guest.last_counter(raw.read_bytes())

    def kept_and_named(self, done):
        """Whether the overlay is kept, and said to be."""
        problems = as_json(done)["error"]["problems"]
        named = {each["code"] for each in problems if str(self.overlay) in each["message"]}
        return self.overlay.exists() and "overlay-unproved" in named


def killed_at(saved, command, *, after):
    """`delete`, killed just before QEMU reads a command, or when it is answered; the guest goes on."""
    with Gate(saved.vm, command) as gate:
        words = ["delete", "a", "--vm", gate.path, "--store", saved.store, *COMMIT]
        running = subprocess.Popen(
            [SNAPPLAN, *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            gate.wait_arrived()
        except AssertionError as error:
            running.kill()
            raise AssertionError(f"{error}; it said: {running.communicate()}") from error
        if after:
            running.send_signal(signal.SIGSTOP)
            gate.release()
            gate.wait_answered()
            if command == "job-complete":
                saved.vm.wait_until(lambda: _ended(saved.vm), "the merge has ended")
        saved.works()
        running.kill()
        running.communicate()
    return gate.path


def _ended(vm):
    return [job["status"] for job in vm.execute("query-jobs")] in ([], ["concluded"])


@pytest.mark.long
@pytest.mark.parametrize(("command", "after"), sampled(("job-complete", True)))
def test_both_die_and_nothing_that_the_guest_wrote_is_lost(qemu, tmp_path, command, after):
    """SIGKILL of both, with a guest that goes on writing where it is not held."""
    both_die(qemu, tmp_path, command, after=after)


@pytest.mark.parametrize(("command", "after"), sampled(("blockdev-del", False)))
def test_a_killed_delete_is_finished_on_the_same_qemu(qemu, tmp_path, command, after):
    """SIGKILL of snapplan alone."""
    killed_and_finished(qemu, tmp_path, command, after=after)


def both_die(qemu, folder, command, *, after):
    """Then recover, and delete --offline: the newest is in the base, or in what is kept and named."""
    saved = Saved(qemu, folder)
    address = killed_at(saved, command, after=after)
    saved.end()
    newest = max(saved.in_base(), saved.in_overlay())
    refused = saved.run("delete", "a", "--offline", *COMMIT)
    assert (refused.returncode, as_json(refused)["error"]["code"]) == (10, "recovery-pending")
    recovered = saved.run("recover", "--vm", address, "--json")
    done = saved.run("delete", "a", "--offline", *COMMIT)
    if done.returncode == 0:
        assert not saved.overlay.exists()
        assert saved.in_base() == newest, "what the guest wrote is lost"
    else:
        assert saved.kept_and_named(done), done.stdout
        assert recovered.returncode == 21
        assert max(saved.in_base(), saved.in_overlay()) == newest, "what the guest wrote is lost"
    if command in ("job-dismiss", "blockdev-del", "cont"):
        assert done.returncode == 0, "the guest was held: nothing is in doubt"


def killed_and_finished(qemu, folder, command, *, after):
    """The guest stands until it is recovered, where it was held; then it goes on on the base."""
    saved = Saved(qemu, folder)
    killed_at(saved, command, after=after)
    done = saved.run("recover", "--vm", saved.vm.qmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert not saved.overlay.exists()
    assert saved.vm.execute("query-jobs") == []
    assert saved.vm.status() == "running"
    assert_guest_unharmed(saved.vm)
    before = saved.in_base()
    saved.works()
    assert saved.in_base() > before, "it writes to the base"


def test_the_guest_is_held_until_the_overlay_is_gone(qemu, tmp_path):
    """From job-complete on nothing reaches the base that the overlay does not hold."""
    saved = Saved(qemu, tmp_path)
    address = killed_at(saved, "blockdev-del", after=True)
    assert saved.vm.status() == "paused"
    assert saved.in_base() == saved.in_overlay()
    saved.vm.execute("cont")  # somebody brings it on by hand, and ends it later
    saved.works()
    saved.vm.execute("stop")
    newest = saved.in_base()
    assert newest > saved.in_overlay()
    saved.end()
    for command in (("verify",), ("load",), ("delete", *COMMIT)):
        refused = saved.run(command[0], "a", "--offline", *command[1:], "--json")
        assert (refused.returncode, as_json(refused)["error"]["code"]) == (10, "recovery-pending")
    recovered = saved.run("recover", "--vm", address, "--json")
    assert recovered.returncode == 21
    assert saved.kept_and_named(recovered), "killed before it was recorded: it cannot be proved"
    done = saved.run("delete", "a", "--offline", *COMMIT)
    assert done.returncode == 10
    assert saved.kept_and_named(done)
    assert saved.in_base() == newest


def test_a_vm_on_the_base_has_not_merged_its_overlay(qemu, tmp_path):
    """Started by its old command line: the overlay is not merged, and all in it would be lost."""
    saved = Saved(qemu, tmp_path)
    saved.vm.end()
    wrote = saved.in_overlay()
    with run_qemu(saved.vm.topology, saved.vm.directory) as vm:
        vm.wait_guest_fails()  # it was not shut down with this disk
        done = saved.run("delete", "a", "--vm", vm.qmp_path, *COMMIT)
        problems = {p["code"] for p in as_json(done)["error"]["problems"]}
        assert (done.returncode, problems) == (10, {"chain-differs"})
        assert saved.in_overlay() == wrote
    with saved.base.open("r+b") as image:  # as that guest would have
        image.seek(4 << 20)
        image.write(b"written since")
    done = saved.run("delete", "a", "--offline", *COMMIT)
    assert done.returncode == 10
    assert saved.kept_and_named(done)
    assert saved.in_overlay() == wrote
    kept = saved.run("delete", "a", "--offline", "--overlays", "keep", "--yes")
    assert kept.returncode == 0, kept.stderr
    assert saved.overlay.exists()


@pytest.mark.long
def test_what_fails_comes_before_what_is_removed(qemu, tmp_path):
    """Another QEMU has a clone of the frozen image: refused, and the snapshot is whole as before."""
    saved = Saved(qemu, tmp_path, "stopped")
    clone = tmp_path / "clone.qcow2"
    create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", saved.base, clone]
    subprocess.run([qemu_img_binary(), *create], check=True)
    where = ("--vm", saved.vm.qmp_path)
    with idle_qemu("-drive", f"file={clone},format=qcow2,if=virtio", folder=tmp_path):
        done = saved.run("delete", "a", *where, *COMMIT)
        problems = {p["code"] for p in as_json(done)["error"]["problems"]}
        assert (done.returncode, problems) == (10, {"image-in-use"})
        assert saved.state.exists()
        assert saved.run("verify", "a", *where).returncode == 0
    done = saved.run("delete", "a", *where, *COMMIT)
    assert done.returncode == 0, done.stderr
    assert not saved.state.exists()
    assert_guest_unharmed(saved.vm)


@pytest.mark.long
def test_an_overlay_that_another_image_needs_is_not_merged(qemu, tmp_path):
    """The second of two, whose record was given up: merging the first would take its base away."""
    saved = Saved(qemu, tmp_path)
    vm = saved.vm
    request = tmp_path / "second.yaml"
    request.write_text(external_request(vm, "none", "b"))
    assert saved.run("apply", request, "--vm", vm.qmp_path).returncode == 0
    needed = saved.run("delete", "a", "--vm", vm.qmp_path, *COMMIT)
    codes = {p["code"] for p in as_json(needed)["error"]["problems"]}
    assert (needed.returncode, codes) == (10, {"part-needed", "chain-differs"})
    keep = ("--overlays", "keep", "--yes")
    assert saved.run("delete", "b", "--vm", vm.qmp_path, *keep).returncode == 0
    vm.end()
    done = saved.run("delete", "a", "--offline", *COMMIT)
    codes = {p["code"] for p in as_json(done)["error"]["problems"]}
    assert (done.returncode, codes) == (10, {"part-needed"})
    assert saved.overlay.exists()


def test_apply_says_how_qemu_is_started_from_now_on(qemu, tmp_path):
    """The option is one that this QEMU takes, on the overlay."""
    saved = Saved(qemu, tmp_path)
    last = saved.said.strip().splitlines()[-3:]
    assert "start QEMU on the overlay" in last[0]
    node = f"driver=qcow2,node-name={FIRMWARE}"
    option = f"-blockdev {node},file.driver=file,file.filename={saved.overlay}"
    assert option in last[1]
    assert str(saved.base) in last[2]
    saved.vm.end()
    with idle_qemu(*option.split(), folder=tmp_path) as qmp:
        files = {n["node-name"]: n["file"] for n in qmp.execute("query-named-block-nodes")}
    assert files[FIRMWARE] == str(saved.overlay)
