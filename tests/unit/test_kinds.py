"""Every kind of part is one class, and the manifest's format is what it was before these classes."""

import json
from pathlib import Path

import pytest
from attrs import evolve, fields
from jsonschema import Draft202012Validator

from planner.errors import BadInput
from planner.model.facts import ChainNode
from planner.model.request import Copy, Exclude, External, Internal
from planner.parts.deletions import DeletionOrigin, Overlays
from planner.parts.internal import InternalSnapshot
from planner.parts.kinds import KINDS, MAKERS, making_of
from planner.parts.make_overlay import MakeOverlay
from planner.parts.making import NotShown, Shown
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.parts.overlay import FrozenImage
from planner.parts.part import ManifestPart
from planner.parts.stream import StateStream
from planner.program.resolution import Overlay
from tests.unit.build import plan, qcow2

BEFORE = Path(__file__).with_name("manifest_of_before.json")
SCHEMA = Draft202012Validator(json.loads(Path("specs/schemas/manifest.schema.json").read_text()))
OF_BEFORE = json.loads(BEFORE.read_text())
NAMES = sorted(
    {name for part in OF_BEFORE["parts"] for name in part} - {"kind", "record", "backing"}
)


def written(value):
    return json.dumps(value, indent=2) + "\n"


def test_a_manifest_of_before_the_classes_is_read_and_written_byte_by_byte():
    """The file was written by commit 8b43b63, which had one class for all kinds."""
    manifest = read_manifest(BEFORE.read_text())
    kinds = [type(part) for part in manifest.parts]
    assert kinds == [InternalSnapshot, FrozenImage, StateStream]
    assert written(manifest_to_plain(manifest)) == BEFORE.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_which_one_it_is(kind):
    """The registry, the class and the file agree; each class can be made with nothing said."""
    part = KINDS[kind]()
    assert isinstance(part, ManifestPart)
    assert part.kind == kind
    assert not part.files


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_part_has_nothing_of_another_kind(kind, name):
    """What a kind has not is taken where it says nothing, and refused where it says something."""
    own = {attribute.name.replace("_", "-") for attribute in fields(KINDS[kind])}
    number = name.endswith(("-ns", "-bytes"))
    for value, empty in ((7 if number else "x", False), (0 if number else "", True)):
        manifest = {**OF_BEFORE, "parts": [{"kind": kind, name: value}]}
        takes = empty or name in own
        assert SCHEMA.is_valid(manifest) == takes
        if takes:
            assert read_manifest(json.dumps(manifest)).parts[0].kind == kind
            continue
        with pytest.raises(BadInput, match=f"a part of kind '{kind}' has no {name} "):
            read_manifest(json.dumps(manifest))


@pytest.mark.parametrize("kind", ["raw", None, 3, ["internal"]])
def test_a_kind_that_nobody_knows_is_refused(kind):
    """A manifest of a later snapplan is not taken for something else."""
    with pytest.raises(BadInput, match="is no kind of part"):
        read_manifest(json.dumps({**OF_BEFORE, "parts": [{"kind": kind}]}))


def test_every_kind_is_made_and_every_wish_for_a_part_has_a_kind():
    """A kind that is only half in the registry would be recorded by nobody, or refused by nobody."""
    assert len(MAKERS) == len(KINDS)
    assert [making_of(wish) for wish in (Internal(), External("/o"), Copy("/c"))] == [*MAKERS[:3]]
    assert making_of(Exclude()) is None


@pytest.mark.parametrize("kind", [FrozenImage, StateStream])
def test_what_lies_on_another_machine_is_not_deleted(kind):
    """A merge and a removal change files; over TCP these may be somebody else's of the same name."""
    part = kind(disk="disk0" if kind is FrozenImage else "", file="/f")
    origin = DeletionOrigin(
        "a",
        {},
        Overlays.COMMIT,
        (),
        disks=None,
        live_nodes={},
        files_here=False,
        frozen_ns=0,
    )
    assert [problem.code for problem in part.delete_problems(origin)] == ["host-not-here"]
    assert not list(part.delete_problems(evolve(origin, files_here=True)))


def on_overlay(base="/vm/disk0.qcow2", node="snapplan-o"):
    """A disk whose guest writes to an overlay over an image."""
    below = (ChainNode("b", "qcow2", base),)
    return qcow2("disk0", node=node, filename="/o", backing=below)


@pytest.mark.parametrize(
    ("disks", "fits"),
    [
        ({"disk0": on_overlay()}, True),
        ({"disk0": on_overlay(base="/another")}, False),
        ({"disk0": on_overlay(node="n")}, False),
        ({"disk0": evolve(on_overlay(), backing=())}, False),
        ({}, False),
    ],
)
def test_an_overlay_is_confirmed_on_the_very_image_that_was_to_be_frozen(disks, fits):
    """Another image, another node, none under it, or no disk: each is no part of the snapshot."""
    overlay = Overlay("disk0", "n", "r", "/o", "snapplan-o", "/vm/disk0.qcow2", "qcow2", 64)
    resolution = evolve(plan().program.resolution, internal=(), overlays=(overlay,))
    shown = Shown({}, {}, disks)
    if fits:
        (part,) = MakeOverlay().confirmed(resolution, shown)
        assert (part.filename, part.overlay_file) == ("/vm/disk0.qcow2", "/o")
        return
    with pytest.raises(NotShown, match="disk0") as wrong:
        list(MakeOverlay().confirmed(resolution, shown))
    assert wrong.value.code == "part-count"
