"""What a clone is started as, what of its QEMU is refused, and the overlays that are written here."""

import json
import re
import subprocess
import uuid
from pathlib import Path

import pytest
from attrs import evolve

from backends.new_overlays import clone_overlay, empty_overlay
from planner.errors import Refused
from planner.host.evidence import record_of
from planner.load.command_line import OwnNames, accepting_names, fill_template, names_from
from planner.model.facts import QemuVersion
from planner.parts.accepting import NOTHING_ACCEPTED
from planner.parts.manifest_text import read_manifest
from planner.parts.template import TemplateDisk, TemplateFile, TemplateMemory
from planner.run.ports import HostRefused
from planner.store.restore_records import (
    Restore,
    RestoredFile,
    RestoreState,
    read_restore,
    restore_record_text,
)
from planner.store.restores import restores_of, write_restore
from planner.store.store import VmStore
from planner.template.clone_plan import (
    clone_words,
    free_number,
    memory_seen_problems,
    place_disks,
    same_in_all,
)
from planner.template.cloning import check_template
from tests.support.images import check, qemu_img
from tests.unit.test_template_record import MANIFEST, TEMPLATE

MIB = 2**20
OLD, NEW = (
    evolve(TEMPLATE, qemu=QemuVersion(7, 2, 22)),
    evolve(TEMPLATE, qemu=QemuVersion(10, 0, 2)),
)
LINE = "qemu -m 64 -uuid {uuid} -name c{clone} -device e1000,mac={mac} -qmp unix:{qmp}"


def test_names_are_own_ones_and_can_be_made_again():
    """Another number, moment or host: another UUID and MAC, of the kinds that nobody else gives."""
    seeds = [(1, "host", "9"), (2, "host", "9"), (1, "host", "8"), (1, "other", "9")]
    made = [names_from(*seed) for seed in seeds]
    assert made == [names_from(*seed) for seed in seeds]
    for one in made:
        assert (uuid.UUID(one.uuid).version, str(uuid.UUID(one.uuid))) == (4, one.uuid)
        assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", one.mac)
        assert int(one.mac[:2], 16) & 3 == 2, "locally administered, and of one device"
    assert len({one.uuid for one in made}) == len({one.mac for one in made}) == 4


def test_a_line_that_names_its_vm_may_name_it_otherwise():
    words = fill_template(LINE, {}, "/run/q", OwnNames(7, "u", "m"))
    assert words[4:] == ("u", "-name", "c7", "-device", "e1000,mac=m", "-qmp", "unix:/run/q")
    assert accepting_names(LINE, NOTHING_ACCEPTED).renamed
    assert not accepting_names("qemu -qmp unix:{qmp}", NOTHING_ACCEPTED).renamed


def placed(number, folder=""):
    return place_disks(MANIFEST, with_all_disks(TEMPLATE), folder, number)


def with_all_disks(template):
    disks = (TemplateDisk(part.disk, f"/t/{part.disk}.img", "raw") for part in MANIFEST.disk_parts)
    return evolve(template, disks=tuple(disks))


def test_each_clone_has_overlays_of_its_own():
    files = [disk.file for number in (1, 2) for disk in placed(number)]
    assert len(set(files)) == len(files)
    assert {Path(disk.file).parent for disk in placed(1, "/fast")} == {Path("/fast")}
    assert [disk.base for disk in placed(1)] == [f"/t/{disk.part.disk}.img" for disk in placed(1)]
    there = {placed(2)[0].file}
    assert free_number({1}, lambda n: [d.file for d in placed(n)], there.__contains__) == 3


def test_memory_is_mapped_for_one_clone_alone_and_read_only_where_qemu_can():
    """A balloon would punch holes into a file that QEMU may write to, though it is mapped privately."""
    disks = placed(1)
    line = "qemu -qmp unix:{qmp} " + " ".join(
        f"-drive file={{disk:{disk.part.disk}}},format=qcow2" for disk in disks
    )
    for template, more in ((OLD, ""), (NEW, ",readonly=on,rom=off")):
        one = evolve(template, memory=(TemplateMemory("pc.ram", 64 * MIB, "/t/a,b"),))
        words = clone_words(line, one, disks, "/run/q", OwnNames())
        (memory,) = (word for word in words if word.startswith("memory-backend-file"))
        assert memory.startswith(
            f"memory-backend-file,id=pc.ram,size={64 * MIB},mem-path=/t/a,,b,share=off{more}"
        )
        assert words[-3:] == ("-S", "-incoming", "defer")


def seen(template, **changes):
    ordinary = {
        one.id: {"share": False, "mem-path": one.file, "size": one.size_bytes}
        for one in template.memory
    }
    ordinary["m0"] |= changes.pop("m0", {})
    run_state, qemu = changes.get("run_state", "inmigrate"), changes.get("qemu", template.qemu)
    return {each.code for each in memory_seen_problems(template, qemu, run_state, ordinary)}


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, set()),
        ({"qemu": QemuVersion(7, 2, 22, "another build")}, set()),
        ({"qemu": QemuVersion(7, 2, 21)}, {"template-qemu-differs"}),
        ({"run_state": "prelaunch"}, {"run-state-unexpected"}),
        ({"m0": {"share": True}}, {"template-memory"}),
        ({"m0": {"mem-path": "/other"}}, {"template-memory"}),
        ({"m0": {"size": 1}}, {"template-memory"}),
    ],
)
def test_a_qemu_that_is_no_clone_is_told_nothing(changes, codes):
    assert seen(OLD, **changes) == codes


def test_what_clones_have_in_common_is_said():
    said = " ".join(same_in_all(["qemu", "-device", "virtio-net-pci,netdev=n"]))
    assert all(word in said for word in ("clone", "MAC", "UUID"))
    line = ["qemu", "-device", "vmgenid,guid=auto", "-uuid", "{uuid}"]
    assert list(same_in_all(line)) == []
    ports = ["-netdev", "user,id=n,hostfwd=tcp::22{clone}-:22"]
    assert not any("port" in each for each in same_in_all([*line, *ports]))


def of_files(folder):
    """A template of three real files."""
    for name in ("ram", "state", "base"):
        (folder / name).write_bytes(name.encode() * 100)
    ram, state, base = (str(folder / name) for name in ("ram", "state", "base"))
    disks = (TemplateDisk(p.disk, base, "raw", record=record_of(base)) for p in MANIFEST.disk_parts)
    return evolve(
        TEMPLATE,
        memory=(TemplateMemory("m", 300, ram, record_of(ram, digest=True)),),
        state=TemplateFile(state, record_of(state, digest=True)),
        disks=tuple(disks),
    )


@pytest.mark.parametrize("name", ["ram", "state", "base"])
@pytest.mark.parametrize("change", ["gone", "longer", "touched", "rewritten"])
def test_a_file_that_is_no_longer_the_templates_is_refused(tmp_path, name, change):
    """The state by its content, the others by what they are; another time alone: by their content."""
    plain = read_manifest(Path("tests/unit/manifest_of_before.json").read_text())
    manifest = evolve(plain, parts=tuple(p for p in plain.disk_parts if p.kind == "internal"))
    template = of_files(tmp_path)
    check_template(manifest, template)
    file = tmp_path / name
    content = file.read_bytes()
    if change == "gone":
        file.unlink()
    else:
        other = {"longer": content + b"x", "touched": content, "rewritten": content[:-1] + b"x"}
        file.write_bytes(other[change])
    if change == "touched" and name != "base":  # there is a digest
        check_template(manifest, template)
        return
    with pytest.raises(Refused) as refused:
        check_template(manifest, template)
    assert {problem.code for problem in refused.value.problems} == {"template-changed"}


@pytest.mark.parametrize("size", [0, 512, 8 * MIB, 512 * MIB + 512, 2**40, 20 * 2**40])
def test_an_overlay_that_is_written_here_is_what_qemu_img_makes(tmp_path, size):
    base, made = tmp_path / "b,ase", tmp_path / "made"
    qemu_img("qemu-img", "create", "-q", "-f", "qcow2", base, str(size))
    base.chmod(0o640)
    told = {"base": str(base), "base-format": "qcow2", "size": size}
    said = clone_overlay("make-clone-overlay", made, told)
    assert check("qemu-img", made) == {"corruptions": 0, "leaks": 0}
    said_of = subprocess.run(
        ["qemu-img", "info", "-f", "qcow2", made], capture_output=True, text=True, check=True
    ).stdout
    assert f"({size} bytes)" in said_of
    assert f"backing file: {base}\n" in said_of
    assert "backing file format: qcow2" in said_of
    assert made.stat().st_mode & 0o777 == 0o640
    with pytest.raises(HostRefused, match="not overwritten"):
        clone_overlay("make-clone-overlay", made, told)
    with pytest.raises(HostRefused, match="no file that was made here"):
        clone_overlay("remove-clone-overlay", made, {"inode": 1})
    assert clone_overlay("remove-clone-overlay", made, said) == {"removed": True}
    assert clone_overlay("remove-clone-overlay", made, said) == {"removed": False}


def test_what_an_overlay_cannot_say_is_refused():
    with pytest.raises(ValueError, match="more than 1023 bytes"):
        empty_overlay("/" + "x" * 1023, "raw", 512)
    with pytest.raises(ValueError, match="too large"):
        empty_overlay("/b", "raw", 2**62)


def test_a_record_says_more_only_where_there_is_more(tmp_path):
    """A snapplan of before reads what has no owner."""
    restore = Restore("a", 1, RestoreState.STARTED, (RestoredFile("d", "/o", "qcow2", "/b"),))
    assert not {"owner", "template-ns", "line"} & {*json.loads(restore_record_text(restore))}
    spare = evolve(restore, state=RestoreState.SPARE, template_ns=7, line="x")
    assert read_restore(restore_record_text(spare), "f") == spare
    vm = VmStore(tmp_path / "vm")
    write_restore(vm, restore)
    assert restores_of(vm).found == (restore,)
