"""Fact 145: dirty bitmaps, and what is said of one that is not there."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks

VERBS = ("remove", "clear", "enable", "disable")


def shown(vm, node="disk0"):
    """The bitmaps of a node, with what a client set of them."""
    held = vm.nodes()[node].get("dirty-bitmaps", [])
    return [(b["name"], b["recording"], b["persistent"], b["granularity"]) for b in held]


@experiment()
@cases("verb", VERBS)
def what_is_not_there_is_named(target, verb):
    """The node, else the bitmap; `add` has other words for the node."""
    vm = target.start(two_disks())
    command = f"block-dirty-bitmap-{verb}"
    same(vm.refusal(command, node="nope", name="b"), "Node 'nope' not found")
    same(vm.refusal(command, node="disk0", name="b"), "Dirty bitmap 'b' not found")
    words = vm.refusal("block-dirty-bitmap-add", node="nope", name="b")
    same(words, "Cannot find device='nope' nor node-name='nope'")


@experiment()
def the_newest_is_shown_first(target):
    """With what was said of it, and what became of it."""
    vm = target.start(two_disks())
    vm.execute("block-dirty-bitmap-add", node="disk0", name="a")
    more = {"granularity": 4096, "persistent": True, "disabled": True}
    vm.execute("block-dirty-bitmap-add", {"node": "disk0", "name": "b", **more})
    same(shown(vm), [("b", False, True, 4096), ("a", True, False, 65536)])
    vm.execute("block-dirty-bitmap-enable", node="disk0", name="b")
    vm.execute("block-dirty-bitmap-disable", node="disk0", name="a")
    same(shown(vm), [("b", True, True, 4096), ("a", False, False, 65536)])


@experiment()
@cases("granularity", [0, 256, 1000])
def a_granularity_is_a_power_of_two(target, granularity):
    """From 512 on."""
    vm = target.start(two_disks())
    wanted = {"node": "disk0", "name": "a", "granularity": granularity}
    words = vm.refusal("block-dirty-bitmap-add", wanted)
    same(words, "Granularity must be power of 2 and at least 512")


@experiment()
def a_merge_names_what_it_lacks(target):
    """The target first, then each source in order, on its own node or on another."""
    vm = target.start(two_disks())
    vm.execute("block-dirty-bitmap-add", node="disk0", name="a")
    merge = {"node": "disk0", "target": "b", "bitmaps": ["a"]}
    same(vm.refusal("block-dirty-bitmap-merge", merge), "Dirty bitmap 'b' not found")
    merge |= {"target": "a", "bitmaps": ["a", "c"]}
    same(vm.refusal("block-dirty-bitmap-merge", merge), "Dirty bitmap 'c' not found")
    merge |= {"bitmaps": [{"node": "nope", "name": "c"}]}
    same(vm.refusal("block-dirty-bitmap-merge", merge), "Node 'nope' not found")


@experiment()
def a_transaction_that_fails_has_them_as_they_were(target):
    """What was added goes, what was switched is switched back, what was removed is there."""
    vm = target.start(two_disks())
    for name in ("a", "b"):
        vm.execute("block-dirty-bitmap-add", node="disk0", name=name)
    before = shown(vm)
    actions = (
        ("block-dirty-bitmap-add", {"node": "disk1", "name": "c"}),
        ("block-dirty-bitmap-disable", {"node": "disk0", "name": "a"}),
        ("block-dirty-bitmap-remove", {"node": "disk0", "name": "b"}),
    )
    vm.refused_transaction(*actions, ("abort", {}))
    same((shown(vm), shown(vm, "disk1")), (before, []))
    vm.transaction(*actions)
    same(
        (shown(vm), shown(vm, "disk1")), ([("a", False, False, 65536)], [("c", True, False, 65536)])
    )


if __name__ == "__main__":
    run_by_hand(globals())
