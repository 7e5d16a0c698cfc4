"""A template in a manifest: read as it was written, checked strictly, and absent where there is none."""

import json
from pathlib import Path

import pytest
from attrs import evolve
from jsonschema import Draft202012Validator

from planner.errors import BadInput
from planner.model.facts import QemuVersion
from planner.model.file_record import FileRecord
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.parts.recognizing import moved_names, with_files
from planner.parts.template import Template, TemplateDisk, TemplateFile, TemplateMemory

BEFORE = Path(__file__).with_name("manifest_of_before.json").read_text()
SCHEMA = Draft202012Validator(json.loads(Path("specs/schemas/manifest.schema.json").read_text()))
RECORD = FileRecord(2049, 77, 400_123, 5, 6, "ab" * 32)
TEMPLATE = Template(
    memory=(
        TemplateMemory("m0", 1 << 28, "/vm/t/a.m0.ram", RECORD),
        TemplateMemory("m1", 1 << 27, "/vm/t/a.m1.ram", RECORD),
    ),
    state=TemplateFile("/vm/t/a.state", RECORD),
    qemu=QemuVersion(7, 2, 22),
    words=("qemu-system-x86_64", "-drive", "file={disk:disk0},format={format:disk0}"),
    disks=(
        TemplateDisk("disk0", "/vm/t/a.disk0.qcow2", "qcow2", own=True, record=RECORD),
        TemplateDisk("vars0", "/vm/vars.raw", "raw", record=evolve(RECORD, sha256="")),
    ),
    made_ns=9,
)
MANIFEST = evolve(read_manifest(BEFORE), template=TEMPLATE)


def test_a_template_is_read_as_it_was_written():
    """What a clone is started from is all of it, and the schema knows all of it."""
    plain = manifest_to_plain(MANIFEST)
    assert SCHEMA.is_valid(plain)
    assert read_manifest(json.dumps(plain)) == MANIFEST


def test_a_manifest_without_a_template_does_not_mention_one():
    """A snapplan of before takes no unknown key: what has no template must stay readable for it."""
    assert "template" not in manifest_to_plain(read_manifest(BEFORE))
    assert json.dumps(manifest_to_plain(read_manifest(BEFORE)), indent=2) + "\n" == BEFORE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain.update(other=1),
        lambda plain: plain.pop("state"),
        lambda plain: plain["state"].update(file=7),
        lambda plain: plain["memory"][0].update(share=True),
        lambda plain: plain["disks"][0].update(own="yes"),
    ],
)
def test_a_template_that_is_none_is_refused(spoil):
    """By the reader and by the published schema alike."""
    plain = manifest_to_plain(MANIFEST)
    spoil(plain["template"])
    assert not SCHEMA.is_valid(plain)
    with pytest.raises(BadInput, match="is no manifest"):
        read_manifest(json.dumps(plain))


def test_a_template_moves_with_its_folder():
    """`--moved` says where the files are now; a frozen base may have stayed where it was."""
    moved = with_files(MANIFEST, moved_names([("/vm/t", "/new")])).template
    assert [each.file for each in moved.memory] == ["/new/a.m0.ram", "/new/a.m1.ram"]
    assert moved.state.file == "/new/a.state"
    assert [disk.file for disk in moved.disks] == ["/new/a.disk0.qcow2", "/vm/vars.raw"]
    assert evolve(moved, memory=(), state=TEMPLATE.state, disks=()) == evolve(
        TEMPLATE, memory=(), disks=()
    )


def test_a_template_knows_which_files_are_its_own():
    """A frozen base is the snapshot's: it must outlast the template."""
    assert TEMPLATE.own_files == (
        *("/vm/t/a.state", "/vm/t/a.m0.ram", "/vm/t/a.m1.ram"),
        "/vm/t/a.disk0.qcow2",
    )
    assert {file for file, _ in TEMPLATE.records} == {*TEMPLATE.own_files, "/vm/vars.raw"}
    assert TEMPLATE.memory_bytes == (1 << 28) + (1 << 27)
