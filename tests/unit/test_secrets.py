"""Keys of encrypted images: which secret opens which image, from what QEMU shows and a user names."""

import os

import pytest
from attrs import evolve
from click.testing import CliRunner

from planner.cli.delete_command import command
from planner.errors import BadInput
from planner.host.secret_files import open_to_others, secret_files
from planner.model.image_key import Key, Secrets, key_secret_of
from planner.parts.disk_part import BackingImage
from planner.parts.keys import keys_of
from planner.parts.manifest_text import manifest_to_plain
from planner.parts.needing_vm import unwritable_problems
from tests.unit.snapshots import codes, manifest


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("/vm/a.qcow2", ""),
        ('json:{"driver": "qcow2", "encrypt.key-secret": "s", "file": {}}', "s"),
        ('json:{"driver": "qcow2", "encrypt": {"format": "luks", "key-secret": "s"}}', "s"),
        ('json:{"driver": "qcow2", "encrypt.key-secret": "s", "file": {"filename": "/a', ""),
        ('json:{"encrypt.key-secret": 7}', ""),
    ],
)
def test_the_secrets_id_is_what_qemu_shows(shown, expected):
    """In both spellings; what is cut off, or no name, tells nothing."""
    assert key_secret_of(shown) == expected


def test_a_single_secret_is_the_one_of_an_image_without_a_record():
    """Of several nobody knows which; and a recorded id takes no other."""
    one, two = Secrets({"s": "/k"}), Secrets({"s": "/k", "t": "/l"})
    assert (one.key(""), two.key("")) == (Key("s", "/k"), None)
    assert (two.key("t"), one.key("t")) == (Key("t", "/l"), None)


def encrypted():
    """A snapshot whose first disk is encrypted, and lies on an encrypted image."""
    whole = manifest(needs_vm=(("disk0", "image-encrypted"),))
    first, second = whole.parts
    below = (BackingImage("/vm/base", "qcow2", key_secret="b"),)
    return evolve(whole, parts=(evolve(first, key_secret="s", backing=below), second))


def test_keys_go_to_the_images_that_are_encrypted():
    """The part's own and those under it; a plain image gets none."""
    found = keys_of(encrypted(), Secrets({"s": "/k", "b": "/l"}))
    assert found == {encrypted().parts[0].file: Key("s", "/k"), "/vm/base": Key("b", "/l")}
    assert keys_of(manifest(), Secrets({"s": "/k"})) == {}


def test_what_has_no_key_is_not_written_to():
    """And with it nothing stands against that."""
    refused = {("image-encrypted", "disk0")}
    assert codes(unwritable_problems(encrypted())) == refused
    assert codes(unwritable_problems(encrypted(), Secrets({"other": "/k"}))) == refused
    assert codes(unwritable_problems(encrypted(), Secrets({"s": "/k"}))) == set()


def test_a_manifest_without_secrets_is_written_as_before():
    """The id stands where there is one, and nowhere else."""
    plain = manifest_to_plain(encrypted())["parts"]
    assert [part.get("key-secret") for part in plain] == ["s", None]
    assert [image["key-secret"] for image in plain[0]["backing"]] == ["b"]


def test_files_of_secrets(tmp_path):
    """A regular file that can be read; one that others may read is named."""
    file = tmp_path / "key"
    file.write_text("pw")
    file.chmod(0o644)
    secrets = secret_files({"s.0-1": file})
    assert secrets.files == {"s.0-1": os.path.realpath(file)}
    assert list(open_to_others(secrets)) == [os.path.realpath(file)]
    file.chmod(0o600)
    assert list(open_to_others(secrets)) == []
    os.mkfifo(tmp_path / "fifo")
    for name, path in (
        ("s", tmp_path / "none"),
        ("s", tmp_path),
        ("s", tmp_path / "fifo"),
        ("0s", file),
        ("s,file=/etc/shadow", file),
    ):
        with pytest.raises(BadInput) as error:
            secret_files({name: path})
        assert error.value.code == "secret-unusable"


def test_a_vm_needs_no_secrets(tmp_path):
    """It has its keys; what would be ignored is refused."""
    file = tmp_path / "key"
    file.touch(0o600)
    words = ["a", "--vm", str(tmp_path / "qmp"), "--secret", f"s={file}"]
    done = CliRunner().invoke(command, words)
    assert (done.exit_code, "a VM has the keys" in done.output) == (2, True)


def test_what_may_be_the_key_itself_is_not_repeated():
    """Somebody takes the option for its place."""
    done = CliRunner().invoke(command, ["a", "--offline", "--secret", "hunter2"])
    assert done.exit_code == 2
    assert "ID=FILE" in done.output
    assert "hunter2" not in done.output
