"""`delete --offline` of a snapshot whose images are gone: the record can be got rid of."""

import json

import pytest

from planner.model.facts import QemuVersion
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import manifest_to_plain
from planner.parts.overlay import FrozenImage
from tests.live.runs import snapplan


def recorded(folder, tmp_path):
    """A manifest in a file, of an internal part and a frozen image that lie in a folder."""
    parts = (
        InternalSnapshot("disk0", file=f"{folder}/d", format="qcow2", snapshot_id="1"),
        FrozenImage("disk1", file=f"{folder}/b", format="raw", overlay_file=f"{folder}/o"),
    )
    manifest = Manifest("a", "test", "0" * 64, QemuVersion(7, 2, 22), "pc", parts)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(manifest_to_plain(manifest)))
    return path


def delete(manifest, tmp_path):
    words = ("delete", manifest, "--offline", "--overlays", "commit", "--yes", "--json")
    done = snapplan(*words, "--store", tmp_path / "store")
    return done.returncode, json.loads(done.stdout)


def test_parts_are_gone_with_their_images(tmp_path):
    """Somebody removed the VM: nothing is left to delete, and the record goes."""
    manifest = recorded(tmp_path, tmp_path)
    code, said = delete(manifest, tmp_path)
    assert (code, said["gone-already"]) == (0, ["disk0", "disk1"])
    assert not manifest.exists()


@pytest.mark.parametrize("there", ["o", "d"])
def test_what_may_be_there_still_is_not_given_up(there, tmp_path):
    """A folder that is not there may not be mounted; an overlay without its image is data."""
    folder = tmp_path / "images"
    manifest = recorded(folder, tmp_path)
    if there == "o":
        folder.mkdir()
        (folder / "o").write_bytes(b"")
    code, said = delete(manifest, tmp_path)
    assert (code, said["error"]["exit-code"]) == (10, 10)
    assert manifest.exists()
