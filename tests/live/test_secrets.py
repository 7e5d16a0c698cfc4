"""Encrypted images without their VM, with the file of their key and without, on a real QEMU."""

import shutil
import subprocess

import pytest

from tests.live.gate import Gate
from tests.live.own_lines import codes
from tests.live.runs import SNAPPLAN, as_json, request_text, snapplan
from tests.support.outside import until_timed
from tests.support.qemu import qemu_img_binary

pytestmark = pytest.mark.real_qemu

SECRET = "luks-key.0"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """An encrypted image, made once: a LUKS key takes its time on a busy machine."""
    folder = tmp_path_factory.mktemp("encrypted")
    (folder / "key").write_text("pw")
    path = folder / "a.qcow2"
    secret = ("--object", f"secret,id={SECRET},file={folder / 'key'}")
    options = f"encrypt.format=luks,encrypt.key-secret={SECRET},encrypt.iter-time=10"
    made = ("create", "-q", "-f", "qcow2", *secret, "-o", options, path, "8M")
    until_timed(qemu_img_binary(), *made)
    return path


@pytest.fixture
def vault(place, encrypted):
    """A folder with a plain image and an encrypted one, the VM on both, and the file of the key."""
    place.key = place.path / "key, of f0"
    place.key.write_text("pw")
    place.key.chmod(0o600)
    place.wrong = place.path / "wrong"
    place.wrong.write_text("not it")
    place.wrong.chmod(0o600)
    # In QEMU's options a comma is doubled.
    place.object = ("--object", f"secret,id={SECRET},file={str(place.key).replace(',', ',,')}")
    place.secret = place.path / "a.qcow2"
    shutil.copyfile(encrypted, place.secret)
    place.plain = place.image("p.qcow2")
    start(place)
    return place


def start(place):
    """The VM, on both."""
    node = f"driver=qcow2,node-name=f0,file=s0,encrypt.format=luks,encrypt.key-secret={SECRET}"
    place.start(
        *("-object", place.object[1]),
        *("-blockdev", f"driver=file,node-name=s0,filename={place.secret}"),
        *("-blockdev", node, "-device", "virtio-blk-pci,drive=f0,id=d0"),
        *("-drive", f"if=none,id=P,file={place.plain},format=qcow2"),
        *("-device", "virtio-blk-pci,drive=P,id=d-P"),
    )


def key(place):
    return ("--secret", f"{SECRET}={place.key}")


def wrong(place):
    return ("--secret", f"{SECRET}={place.wrong}")


def on_secret(place, *words, image=None):
    """qemu-img snapshot on the encrypted image, by hand."""
    image = f"driver=qcow2,file.filename={image or place.secret},encrypt.key-secret={SECRET}"
    line = [qemu_img_binary(), "snapshot", *place.object, *words, "--image-opts", image]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def tags(place):
    """What the plain image holds, and what the encrypted one does."""
    secret = [line.split()[1] for line in on_secret(place, "-l").splitlines()[2:]]
    return place.tags("p.qcow2"), secret


def save(place, text):
    made = place.run("apply", "-", text=text)
    assert made.returncode == 0, made.stderr
    return made


def test_a_part_in_an_encrypted_image_is_worked_on_with_its_key(vault):
    """The record has the secret's id; without its file nothing is written, and the remedy says so."""
    said = save(vault, request_text("a", ["f0", "P"], "P")).stdout
    assert f"--secret {SECRET}=FILE" in said
    vault.end()
    refused = vault.offline("delete", "a", "--yes", "--json")
    assert (refused.returncode, codes(refused)) == (10, {("image-encrypted", "f0")})
    [told] = as_json(refused)["error"]["problems"]
    assert f"--secret {SECRET}=FILE" in told["remedy"]
    refused = vault.offline("delete", "a", "--yes", *wrong(vault))
    assert "Invalid password" in refused.stderr
    assert tags(vault) == (["a"], ["a"])
    unread = vault.offline("verify", "a", "--deep")
    assert (unread.returncode, "its key was not given" in unread.stdout) == (30, True)
    verified = vault.offline("verify", "a", "--deep", *key(vault))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    deleted = vault.offline("delete", "a", "--yes", *key(vault))
    assert deleted.returncode == 0, deleted.stderr
    assert tags(vault) == ([], [])


@pytest.mark.long
def test_the_part_that_is_meant_goes_by_its_id(vault):
    """Of two of one name the first is somebody else's, so a QEMU without a guest deletes ours."""
    vault.end()
    on_secret(vault, "-c", "a")
    start(vault)
    save(vault, request_text("b", ["f0"]))
    vault.end()
    on_secret(vault, "-c", "b")
    on_secret(vault, "-d", "a")
    deleted = vault.offline("delete", "b", "--yes", *key(vault))
    assert deleted.returncode == 0, deleted.stderr
    assert [line.split()[0] for line in on_secret(vault, "-l").splitlines()[2:]] == ["3"]


@pytest.mark.long
def test_disks_alone_are_reverted_with_the_key_or_not_at_all(vault):
    """A wrong key shows before the plain disk is reverted."""
    save(vault, request_text("a", ["f0", "P"]))
    vault.end()
    before = vault.plain.read_bytes()
    for named in ((), wrong(vault)):
        refused = vault.offline("load", "a", "--yes", "--json", *named)
        assert refused.returncode == 10, refused.stdout
        assert {subject for _, subject in codes(refused)} == {"f0"}
        assert vault.plain.read_bytes() == before
    done = vault.offline("load", "a", "--yes", *key(vault))
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_copy_of_an_encrypted_image_is_encrypted(vault):
    """`--copy-to` writes what the snapshot holds to a new image, under the same secret."""
    state = f"{{external: {vault.path / 's.state'}, capture: stopped}}"
    save(vault, f"tag: a\nmachine-state: {state}\ndisks: {{f0: internal, P: internal}}")
    vault.end()
    folder = vault.path / "copies"
    folder.mkdir()
    made = vault.offline("load", "a", "--yes", "--copy-to", folder, *key(vault))
    assert made.returncode == 0, made.stderr
    copied = folder / "a.restored-1.qcow2"
    shown = [qemu_img_binary(), "info", "--output=json", "-f", "qcow2", str(copied)]
    told = subprocess.run(shown, check=True, capture_output=True, text=True).stdout
    assert '"encrypted": true' in told
    on_secret(vault, "-l", image=copied)  # the same secret opens it


@pytest.mark.long
def test_a_fresh_qemu_that_reverts_itself_needs_no_key_of_ours(vault):
    """`load --run`, the machine state in the plain image: QEMU has the key on its command line."""
    save(vault, request_text("a", ["f0", "P"], "P"))
    vault.end()
    shown = vault.run("load", "a", vm=False)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize(
    ("design", "command"),
    [
        ("transactional", "cont"),
        pytest.param("monolithic", "job-dismiss", marks=pytest.mark.long),
    ],
)
def test_a_killed_run_is_repaired_with_the_key(vault, design, command):
    """Both die when every part was made: what cannot be taken back without the key is, with it."""
    (vault.path / "r.yaml").write_text(request_text("a", ["f0", "P"], "P"))
    where = ("--store", vault.path / "store")
    with Gate(vault, command) as gate:
        line = [SNAPPLAN, "apply", vault.path / "r.yaml", "--vm", gate.path, *where]
        running = subprocess.Popen(
            [*line, "--design", design], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        gate.kill(running, after=False)
        address = gate.path
    vault.kill()
    gone = ("recover", "--vm", address, *where, "--json")
    assert tags(vault) == (["a"], ["a"])
    left = snapplan(*gone)
    assert (left.returncode, "--secret" in left.stderr) == (21, True), left.stderr
    done = snapplan(*gone, *key(vault))
    assert done.returncode == 0, done.stderr
    assert tags(vault) == ([], [])
