"""Storage outside of QEMU's block layer is named, and left out by name or not at all."""

import json
from types import SimpleNamespace

import pytest
from attrs import evolve

from planner.compile.plan import check_unchanged, compile_request
from planner.compile.plan_text import plan_to_text, read_plan
from planner.errors import Refused, VmChanged
from planner.load.way_back import keeping_plan
from planner.model.facts import QemuVersion
from planner.model.outside import outside_of
from planner.model.peripherals import Device, HostObject, Tpm
from planner.model.request_text import read_request
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.present.outside_view import left_out_lines
from planner.present.plan_view import plan_text
from planner.present.vm_view import draft_request, inspect_text, inspection_to_plain
from planner.program.program import canonical_json
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.save.recording import manifest_of
from tests.unit.build import codes, facts, qcow2, request

DISK = Device("vud0", "vhost-user-blk-pci", "chr0")
PLACE = "/machine/peripheral-anon/device[0]"
SHARED = HostObject("mem", "memory-backend-file", shared=True, path="/x/mem")
TPM = {
    "devices": (Device(PLACE, "tpm-tis", "tpm0"),),
    "tpms": (Tpm("tpm0", "tpm-tis", "emulator"),),
}
WITH_STATE = {"internal": "disk0"}


def vm(*devices, **more):
    return facts(qcow2("disk0"), **({"devices": devices} | more))


def plan_of(the_facts, machine_state="none", **wishes):
    disks = {"disk0": "internal", **wishes}
    return compile_request(request("t", machine_state, disks, others="exclude"), the_facts)


def refusal(the_facts, machine_state="none", **wishes):
    with pytest.raises(Refused) as error:
        plan_of(the_facts, machine_state, **wishes)
    return [(problem.code, problem.subject) for problem in error.value.problems]


@pytest.mark.parametrize(
    "kind",
    [
        *("vhost-user-blk-pci", "vhost-user-scsi-pci", "vhost-user-fs-pci", "vhost-scsi-pci"),
        *("vfio-pci", "vfio-pci-nohotplug", "vhost-vdpa-device-pci", "virtio-9p-pci"),
        *("virtio-9p-device", "ivshmem-plain", "ivshmem-doorbell", "usb-mtp", "usb-host"),
        *("vhost-user-test-device-pci", "vfio-user-pci"),
    ],
)
def test_what_stores_something_is_refused_unless_excluded_by_name(kind):
    """`others: exclude` is no permission; the device's id is, and so is its path."""
    the_facts = vm(Device("x0", kind))
    assert refusal(the_facts) == [("storage-outside", "x0")]
    assert refusal(the_facts, WITH_STATE) == [("storage-outside", "x0")]
    for name in ("x0", "/machine/peripheral/x0"):
        resolution = plan_of(the_facts, **{name: "exclude"}).program.resolution
        assert resolution.outside == (("x0", kind),)
        assert resolution.excluded == ()


@pytest.mark.parametrize(
    "kind",
    [
        *("virtio-blk-pci", "virtio-net-pci", "virtio-scsi-pci", "vhost-vsock-pci", "nvme"),
        *("vhost-user-rng-pci", "usb-redir"),
    ],
)
def test_what_stores_nothing_of_its_own_is_not_refused(kind):
    """Nor a device whose process keeps nothing."""
    assert plan_of(vm(Device("x0", kind))).program.resolution.outside == ()


def test_a_redirected_usb_device_is_a_warning():
    """Nearly every desktop VM has such a place, and nearly always it is empty."""
    warnings = plan_of(vm(Device("r0", "usb-redir"))).program.resolution.warnings
    assert [warning for warning in warnings if "r0" in warning]


@pytest.mark.parametrize("wish", ["internal", {"external": "/new/x"}])
def test_it_can_be_no_part(wish):
    """Whatever else is wished for it is refused by the same code."""
    assert refusal(vm(DISK), vud0=wish) == [("storage-outside", "vud0")]


def test_a_device_without_an_id_is_named_by_its_place():
    """There is no other name for it."""
    the_facts = vm(Device(PLACE, "virtio-9p-pci", "fs0"))
    assert refusal(the_facts) == [("storage-outside", PLACE)]
    assert plan_of(the_facts, **{PLACE: "exclude"}).program.resolution.outside


def test_a_name_of_a_disk_and_of_a_device_is_ambiguous():
    """A node and a device may be called the same; the path tells them apart."""
    the_facts = vm(Device("disk0", "vhost-user-blk-pci"))
    assert ("disk-ambiguous", "disk0") in refusal(the_facts)


@pytest.mark.parametrize("kind", ["nvdimm", "virtio-pmem-pci", "acpi-erst", "cxl-type3", "nvme"])
def test_memory_that_outlives_the_vm_counts_where_it_is_shared(kind):
    """A private mapping is memory like any other, and machine state holds it."""
    device = Device("nv0", kind, "mem")
    assert refusal(vm(device, objects=(SHARED,))) == [("storage-outside", "nv0")]
    private = HostObject("mem", "memory-backend-file", shared=False, path="/x/mem")
    assert plan_of(vm(device, objects=(private,))).program.resolution.outside == ()


def test_an_emulated_tpm_is_in_the_machine_state():
    """QEMU asks it for its state and writes that along; disks alone lack it."""
    with_state = plan_of(vm(**TPM), WITH_STATE).program.resolution
    assert [c.value for c in with_state.choices if c.subject == "tpm0"] == ["in the machine state"]
    assert with_state.outside == ()
    assert refusal(vm(**TPM)) == [("storage-outside", "tpm0")]
    for name in ("tpm0", PLACE):
        assert plan_of(vm(**TPM), **{name: "exclude"}).program.resolution.outside
        assert plan_of(vm(**TPM), WITH_STATE, **{name: "exclude"}).program.resolution.outside == ()


def test_variables_in_a_file_are_in_the_machine_state():
    """QEMU loads them and writes the file anew; disks alone lack them. Without a file nothing lasts."""
    device = Device("vars", "uefi-vars-x64", "/vm/vars.json")
    assert plan_of(vm(device), WITH_STATE).program.resolution.outside == ()
    assert refusal(vm(device)) == [("storage-outside", "vars")]
    assert plan_of(vm(evolve(device, uses=""))).program.resolution.outside == ()


def test_the_host_s_own_tpm_is_in_no_machine_state():
    """Its state cannot be read."""
    passed = {**TPM, "tpms": (Tpm("tpm0", "tpm-tis", "passthrough"),)}
    assert refusal(vm(**passed), WITH_STATE) == [("storage-outside", "tpm0")]


@pytest.mark.parametrize("kind", ["vhost-user-blk-pci", "vhost-user-rng-pci", "vfio-pci", "pvrdma"])
def test_background_beside_what_writes_memory_is_refused(kind):
    """Excluded or not: the memory that is saved is written unseen."""
    the_facts = vm(Device("x0", kind), version="10.0")
    for wishes in ({}, {"x0": "exclude"}):
        disks = {"disk0": "internal", **wishes}
        asked = request("t", {"external": "/new/state", "capture": "background"}, disks)
        with pytest.raises(Refused) as error:
            compile_request(asked, the_facts)
        assert "background-unsafe" in codes(error.value)


@pytest.mark.parametrize("capture", ["stopped", "live"])
def test_other_captures_are_allowed_beside_it(capture):
    """QEMU stops those devices with the guest, and is told what they write meanwhile."""
    asked = request(
        "t",
        {"external": "/new/state", "capture": capture},
        {"disk0": "internal", "vud0": "exclude"},
    )
    assert compile_request(asked, vm(DISK, version="10.0"))


def test_a_plan_says_it_and_keeps_it():
    """In its text, and in its file."""
    plan = plan_of(vm(DISK), vud0="exclude")
    assert "left out       vud0" in plan_text(plan)
    assert read_plan(plan_to_text(plan)) == plan


def test_a_device_that_is_plugged_in_later_makes_a_plan_unfit():
    """Nobody has left that one out."""
    plan = plan_of(vm())
    with pytest.raises(VmChanged) as error:
        check_unchanged(plan, vm(DISK))
    assert "storage-outside" in codes(error.value)


def test_inspect_names_everything():
    """For a person and for programs, with what becomes of it."""
    the_facts = vm(DISK, Device("r0", "vhost-user-rng-pci"), tpms=TPM["tpms"])
    text = inspect_text(the_facts)
    for name in ("vud0", "r0", "tpm0", "vhost-user-blk-pci, chr0"):
        assert name in text
    told = {o["name"]: o for o in json.loads(json.dumps(inspection_to_plain(the_facts)))["outside"]}
    assert (told["vud0"]["stores"], told["vud0"]["writes-memory"]) == (True, True)
    assert (told["r0"]["stores"], told["r0"]["writes-memory"]) == (False, True)
    assert told["tpm0"]["in-machine-state"]


def test_a_draft_is_accepted_and_says_what_it_leaves_out():
    """As it stands, with a line for each that says what it is; without that line it is refused."""
    the_facts = vm(DISK, Device(PLACE, "virtio-9p-pci", "fs0"))
    draft = draft_request(the_facts, "t")
    plan = compile_request(read_request(draft), the_facts)
    assert "vud0 (vhost-user-blk-pci" in plan_text(plan)
    (line,) = [line for line in draft.splitlines() if line.startswith("  vud0: exclude  # ")]
    assert "vhost-user-blk-pci" in line
    assert "leaves these as they then are" in draft
    with pytest.raises(Refused) as error:
        compile_request(read_request(draft.replace(line, "")), the_facts)
    assert codes(error.value) == ["storage-outside"]


def test_a_draft_of_a_vm_without_a_disk_of_qemu_s():
    """The file is a request all the same, and what speaks against it is that there is nothing."""
    the_facts = facts(devices=(DISK,))
    with pytest.raises(Refused) as error:
        compile_request(read_request(draft_request(the_facts, "t")), the_facts)
    assert codes(error.value) == ["nothing-to-snapshot"]


def test_the_way_back_of_a_load_leaves_out_what_the_load_leaves_alone():
    """`load --keep-current` saves what would be reverted, and asks nobody about the rest."""
    part = InternalSnapshot(disk="disk0", vm_state_size_bytes=1)
    manifest = Manifest("t", "monolithic", "", QemuVersion(7, 2, 22), "pc", (part,))
    assert keeping_plan("back", manifest, vm(DISK)).program.resolution.outside == (
        ("vud0", "vhost-user-blk-pci"),
    )


def test_a_load_says_what_was_never_saved():
    """It is left as it is."""
    saved = SimpleNamespace(outside=(("vud0", "vhost-user-blk-pci"),), served=())
    (line,) = left_out_lines(saved)
    assert line == "Not in this snapshot, and left as it is: vud0 (vhost-user-blk-pci)."


def test_a_load_says_which_member_has_saved_what_it_leaves():
    """It is not lost: the record of the save knows who serves it."""
    the_facts = vm(DISK)
    plan = plan_of(the_facts, WITH_STATE, vud0={"served-by": "store"})
    done = Outcome(Phase.DONE, "running")
    made = manifest_of(plan, the_facts, done, address="", started_ns=1, ended_ns=2)
    again = read_manifest(canonical_json(manifest_to_plain(made)))
    assert again.served == (("vud0", "store"),)
    (line,) = left_out_lines(again)
    assert line == "In the snapshot of member 'store', not in this one: vud0 (vhost-user-blk-pci)."


def test_facts_of_before_know_of_nothing_outside():
    """A facts file without devices is read, and nothing is guessed."""
    assert outside_of(facts(qcow2("disk0"))) == ()


def test_a_shared_folder_s_daemon_may_keep_its_state():
    """Nothing shows before the save whether it can give it: the plan says so. Disks alone do not ask."""
    the_facts = vm(Device("share", "vhost-user-fs-pci", "chr"))
    told = plan_of(the_facts, WITH_STATE, share="exclude").program.resolution.warnings
    assert [w for w in told if "fact 137" in w]
    told = plan_of(the_facts, share="exclude").program.resolution.warnings
    assert not [w for w in told if "fact 137" in w]
