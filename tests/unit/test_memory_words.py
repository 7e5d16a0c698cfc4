"""A command line with its memory in files: nothing else of it is another, and QEMU reads it so."""

import json

import pytest

from planner.model.facts import QemuVersion
from planner.parts.template import TemplateMemory
from planner.template.memory_words import maps_read_only, memory_objects, with_memory

RAM = TemplateMemory("pc.ram", 1 << 28, "/t/a,b.ram")
PLAIN = ("qemu-system-x86_64", "-machine", "pc", "-m", "256", "-S")


def test_a_line_without_memory_objects_gets_one_by_the_machines_id():
    """A comma in the path is doubled, as QEMU's option parser wants it."""
    words = with_memory(PLAIN, (RAM,), share=True)
    assert words == (
        *PLAIN,
        "-object",
        (
            "memory-backend-file,id=pc.ram,size=268435456,mem-path=/t/a,,b.ram,share=on,"
            "x-use-canonical-path-for-ramblock-id=off"
        ),
        *("-machine", "memory-backend=pc.ram"),
    )


def test_what_was_said_of_the_old_memory_goes():
    """`-mem-path` and a memory object exclude each other; pages made beforehand are copies."""
    line = (*PLAIN, "-mem-path", "/dev/hugepages", "--mem-prealloc", "-nodefaults")
    words = with_memory(line, (RAM,), share=False)
    assert not {"-mem-path", "/dev/hugepages", "--mem-prealloc"} & {*words}
    assert words[: len(PLAIN) + 1] == (*PLAIN, "-nodefaults")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            (
                "memory-backend-memfd,id=mem,size=256M,share=on,hugetlb=on,prealloc=on,policy=bind,"
                "host-nodes=0"
            ),
            (
                "memory-backend-file,id=mem,size=268435456,mem-path=/t/mem.ram,share=off,readonly=on,"
                "rom=off,policy=bind,host-nodes=0"
            ),
        ),
        (
            "id=mem,qom-type=memory-backend-ram,size=256M,dump=off",
            (
                "memory-backend-file,id=mem,size=268435456,mem-path=/t/mem.ram,share=off,readonly=on,"
                "rom=off,dump=off"
            ),
        ),
    ],
)
def test_an_object_of_the_line_is_replaced_in_its_place(before, after):
    """Its id is what the machine and the stream know; what is said of its pages is the file's now."""
    line = (*PLAIN, "-object", before, "-numa", "node,memdev=mem")
    memory = (TemplateMemory("mem", 1 << 28, "/t/mem.ram"),)
    words = with_memory(line, memory, share=False, read_only=True)
    assert words == (*PLAIN, "-object", after, "-numa", "node,memdev=mem")


def test_an_object_in_json_stays_json():
    """As libvirt writes it."""
    said = {
        "qom-type": "memory-backend-file",
        "id": "pc.ram",
        "mem-path": "/dev/hugepages/libvirt/qemu/1-vm",
        "discard-data": True,
        "x-use-canonical-path-for-ramblock-id": False,
        "prealloc": True,
        "size": 268435456,
    }
    words = with_memory((*PLAIN, "-object", json.dumps(said)), (RAM,), share=True)
    assert json.loads(words[-1]) == {
        "qom-type": "memory-backend-file",
        "id": "pc.ram",
        "size": 268435456,
        "mem-path": "/t/a,b.ram",
        "share": True,
        "x-use-canonical-path-for-ramblock-id": False,
    }


def test_other_objects_stay_as_they_are():
    """Also one that only looks like memory, and one of memory that nobody asked for."""
    others = (
        *("-object", "rng-random,id=pc.ram"),
        *("-object", '{"qom-type": "iothread", "id": "x"}'),
        *("-object", "{malformed"),
        *("-object", "memory-backend-ram,id=dimm,size=1G"),
    )
    memory = (TemplateMemory("mem", 1, "/m"),)
    assert with_memory((*PLAIN, *others), memory, share=True)[: len(PLAIN) + len(others)] == (
        *PLAIN,
        *others,
    )
    assert memory_objects((*PLAIN, *others)) == {"dimm": "memory-backend-ram"}


def test_several_objects_get_a_file_each():
    """The nodes of a NUMA machine; none is added."""
    line = (
        *PLAIN,
        *("-object", "memory-backend-ram,id=m0,size=1G", "-numa", "node,memdev=m0"),
        *("-object", "memory-backend-ram,id=m1,size=2G", "-numa", "node,memdev=m1"),
    )
    memory = (TemplateMemory("m0", 1 << 30, "/0"), TemplateMemory("m1", 2 << 30, "/1"))
    words = with_memory(line, memory, share=True)
    assert len(words) == len(line)
    assert [word for word in words if "mem-path" in word] == [
        "memory-backend-file,id=m0,size=1073741824,mem-path=/0,share=on",
        "memory-backend-file,id=m1,size=2147483648,mem-path=/1,share=on",
    ]


@pytest.mark.parametrize(
    ("version", "can"), [((7, 2), False), ((8, 1), False), ((8, 2), True), ((11, 1), True)]
)
def test_which_qemu_can_map_a_file_that_it_may_not_write_to(version, can):
    """Before 8.2 memory of a file that is opened read-only is memory that the guest cannot write to."""
    assert maps_read_only(QemuVersion(*version, 0)) is can
