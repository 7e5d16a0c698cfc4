"""What a VM has beside its disks: devices, TPMs and memory, from real answers and the simulator's."""

import json

import pytest

from planner.errors import CannotConnect
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.peripherals import Device, HostObject, Tpm, netdevs_of
from planner.run.actions import ErrorReply, Returned
from planner.run.survey import survey
from planner.semantics import execute, state_from_facts
from tests.unit.build import facts as vm_facts
from tests.unit.build import qcow2
from tests.unit.recorded import VERSIONS, ask, replies


def survey_of(state):
    """The facts of a simulated VM."""
    asking = survey()
    send = next(asking)
    while True:
        result = execute(state, send.command, dict(send.arguments))
        turned = result.error and ErrorReply(result.error.error_class, result.error.desc)
        try:
            send = asking.send(turned or Returned(result.reply))
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("version", VERSIONS)
def test_devices_are_known_by_id_or_path(version):
    """A device without an id is known by its place; both lists are asked for."""
    devices = {device.id: device.type for device in ask(replies(version)).devices}
    assert devices["dev0"] == "virtio-blk-pci"
    assert devices["/machine/peripheral-anon/device[5]"] == "ide-cd"
    assert len(devices) == 10


@pytest.mark.parametrize("missing", ["qom-list", "query-tpm"])
def test_a_peer_that_lists_no_devices_has_none(missing):
    """A question that a peer does not know must not fail the survey."""
    answers = {**replies(), "qom-list": [{"name": "t", "type": "child<tpm-tis>"}]}
    answers.pop(missing, None)
    facts = ask(answers)
    assert not facts.tpms
    assert bool(facts.devices) == (missing == "query-tpm")


@pytest.mark.parametrize(
    "answer", [7, "x", [7], [{"name": "a"}], {}, [{"name": 1, "type": "child<x>"}]]
)
def test_a_malformed_list_of_devices_is_told(answer):
    """Neither a traceback nor a guess."""
    everywhere = dict.fromkeys(
        ("/machine/peripheral", "/machine/peripheral-anon", "/objects"), answer
    )
    with pytest.raises(CannotConnect) as error:
        ask({**replies(), "qom-list": everywhere})
    assert error.value.code == "reply-malformed"


def test_what_is_outside_the_block_layer_comes_back_from_the_simulator():
    """Devices, TPMs and objects are the same whether asked of a VM or of its simulation."""
    devices = (
        Device("/machine/peripheral-anon/device[0]", "tpm-tis", "tpm0"),
        Device("nv0", "nvdimm", "mem"),
        Device("vud0", "vhost-user-blk-pci", "chr0"),
    )
    tpms = (Tpm("tpm0", "tpm-tis", "emulator"),)
    objects = (HostObject("mem", "memory-backend-file", shared=True, path="/x/mem"),)
    known = vm_facts(qcow2("disk0"), devices=devices, tpms=tpms, objects=objects)
    again = survey_of(state_from_facts(known))
    assert (again.devices, again.tpms, again.objects) == (devices, tpms, objects)
    assert read_facts(json.dumps(facts_to_plain(again))) == again


INFO_NETWORK = (
    "net0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n"
    " \\ hn0: index=0,type=vhost-user,vhost-user0 to c0\r\n"
    "net1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:57\r\n"
    " \\ n1: index=0,type=user,net=10.0.2.0,restrict=off\r\n"
    "net2: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:58\r\n"
    " \\ v0: index=0,type=vhost-vdpa,vhost-vdpa\r\n"
)


def test_a_network_that_another_process_serves():
    """No QMP command lists it; what 7.2, 10.0 and 11.1 tell a person is read instead."""
    assert netdevs_of(INFO_NETWORK) == (
        HostObject("hn0", "netdev-vhost-user"),
        HostObject("v0", "netdev-vhost-vdpa"),
    )
    assert netdevs_of(None) == netdevs_of(["x"]) == netdevs_of("") == ()
