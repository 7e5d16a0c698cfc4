"""Groups of simulated VMs, in process: faults in any member, and a snapplan that dies at any moment.

One process runs all members, so there is one count of moments (`tests.crash.killing`), and one order
of what happens to all of them.
"""

import asyncio
import random
from contextlib import ExitStack
from unittest import mock

from attrs import define, evolve, field

from planner.compile.plan import compile_request
from planner.group.planning import MemberPlan, plan_group
from planner.group.records import GroupStore
from planner.load.load_checks import plan_load
from planner.load.way_back import after_keeping
from planner.model.request_text import read_request
from planner.recover.gone import GoneVm
from planner.recover.group_ending import forget_undone_group
from planner.recover.recovery import Link, pending_runs, recover_run
from planner.run.pump import ask_facts
from planner.run.stopping import to_its_end
from planner.semantics import guest_step
from planner.semantics.construct import DiskDescription, vm_state
from planner.store.held import Held
from planner.store.instance import Instance
from planner.store.meeting import Met
from planner.store.store import Store, VmIdentity
from planner.verbs import group_load, group_save
from planner.verbs.context import Context
from planner.verbs.load import LoadWish
from planner.verbs.save import Limits, pump_of
from tests.crash.killing import Killed, KilledVm, Moments, process
from tests.crash.machines import act, image_node, survey
from tests.crash.test_random_faults import OLD, OLD_STATE, TAG

GROUP = "together"
TEXT = (
    f"tag: {TAG}\nmachine-state: {{internal: disk0}}\ndisks: {{disk0: internal, disk1: internal}}\n"
)
DISKS_ALONE = f"tag: {TAG}\nmachine-state: none\ndisks: {{disk0: internal, disk1: internal}}\n"


@define
class GroupMoments(Moments):
    """The moments of a process with several runs: once it is dead none of them does anything more."""

    def pass_by(self, what):
        if 0 <= self.kill_at < len(self.seen):
            raise Killed(what)
        super().pass_by(what)


@define
class GroupVm(KilledVm):
    """A member's VM; all of a group write down what they did in one order.

    Attributes:
        name: Of the member.
        order: What happened to all members.
        dice: Whether another member goes on before a command; None: never.
        reverted: The disks that a load has brought back.
    """

    name: str = ""
    order: list = field(factory=list)
    dice: random.Random | None = None
    turn: asyncio.Lock = field(factory=asyncio.Lock)
    reverted: set = field(factory=set)

    @property
    def images(self):
        return self

    @property
    def host(self):
        return None

    async def execute(self, command, arguments, timeout_s):
        async with self.turn:  # QEMU takes commands in their order
            for _ in range(0 if self.dice is None else self.dice.randrange(4)):
                await asyncio.sleep(0)
            return await self._in_turn(command, arguments, timeout_s)

    async def _in_turn(self, command, arguments, timeout_s):
        running = self.state.run_state == "running"
        if self.armed and command == "transaction" and self.state.machine.daemon:
            self.order.append((self.name, "captures"))
        loads = self.armed and command == "snapshot-load" and arguments.get("tag") == TAG
        try:
            return await super().execute(command, arguments, timeout_s)
        finally:
            if loads:
                self.reverted |= _brought_back(self)
            if running is not (self.state.run_state == "running"):
                self.order.append((self.name, "stops" if running else "goes on"))


def _brought_back(vm):
    """The disks that read as their snapshots do, just after a load."""
    found = set()
    for disk in ("disk0", "disk1"):
        layer = image_node(vm, disk).layer
        found |= {disk for s in layer.snapshots if s.name == TAG and s.content == layer.content}
    return found


@define
class Group:
    """A planned group, and how its VMs were.

    Attributes:
        plan: The plan.
        states: Each member's VM, by name.
    """

    plan: object
    states: dict

    @classmethod
    def of(cls, run_states, text=TEXT, design="transactional"):
        states, members = {}, []
        for number, run_state in enumerate(run_states):
            name = f"m{number}"
            disks = [
                DiskDescription("disk0", "qcow2", snapshots=(OLD_STATE,)),
                DiskDescription("disk1", "qcow2", snapshots=(OLD,)),
            ]
            daemon = run_state == "daemon"
            at = {"run_state": "running" if daemon else run_state, "daemon": daemon}
            states[name] = vm_state("11.1", disks, **at)
            facts = asyncio.run(ask_facts(GroupVm(states[name], TAG)))
            wanted = DISKS_ALONE if daemon else text
            plan = compile_request(read_request(wanted), facts, design)
            members.append(MemberPlan(name, f"/run/{name}/qmp", plan, facts))
        return cls(plan_group(GROUP, members), states)

    def vms(self, seed=None, faults=None, states=None):
        """New VMs as they were; the faults are those of each member, by its name."""
        order = []
        dice = None if seed is None else random.Random(seed)
        vms = {}
        for name, state in (states or self.states).items():
            own = list((faults or {}).get(name, ()))
            vms[name] = GroupVm(state, TAG, own, name=name, order=order, dice=dice)
        return vms


def identity_of(name):
    return VmIdentity("", f"guest {name}", f"/run/{name}/qmp")


async def apply(group, vms, folder, limits=None):
    """What `snapplan group apply` does, from the plan on."""
    store = Store(folder)
    contexts, held = {}, {}
    for member in group.plan.members:
        vm, identity = vms[member.name], identity_of(member.name)
        vm.armed = True
        contexts[member.name] = Context(vm, store, identity.address, None)
        met = Met(store, identity, member.facts, Instance((1,)), vm)
        held[member.name] = Held(met, store.vm(identity))
    limits = limits or Limits()
    saving = group_save._begin(GroupStore.of(store), contexts, group.plan, held, limits)
    with mock.patch.object(group_save, "pump_of", _by_its_own_clock):
        return await saving.run(to_its_end, limits)


def _by_its_own_clock(context, *given):
    pump = pump_of(context, *given)
    pump._clock = context.backend
    return pump


async def recover(vms, folder):
    """What `snapplan recover` of each member does, from the journals on."""
    found = {}
    for pending in pending_runs(Store(folder)):
        name = pending.journal.header.group.member
        vm = vms[name]
        informed = pending.replayed.run.informed(pending.vm)
        if informed.needs_no_vm or vm.state.died:
            link = Link(GoneVm(), vm)
        else:
            await vm.connect(1.0)
            link = Link(vm, vm, await ask_facts(vm))
        vm.armed = True
        found[name] = (await recover_run(pending, link, clock=vm)).outcome
        forget_undone_group(pending)
    return found


def in_process(vms, moments, work, *, power_loss=False):
    """A process of snapplan that may be killed; None where it was."""
    first, *others = vms.values()
    for vm in others:
        vm.moments = moments
    groups = {"write": GroupStore.write, "remove": GroupStore.remove}

    def counted(name):
        def do(self, what):
            moments.pass_by(f"before the group's {name}")
            groups[name](self, what)
            moments.pass_by(f"after the group's {name}")

        return do

    with ExitStack() as patches:
        for name in groups:
            patches.enter_context(mock.patch.object(GroupStore, name, counted(name)))
        try:
            with process(first, moments, power_loss=power_loss):
                return asyncio.run(work())
        except Killed:
            return None
        finally:
            moments.kill_at = -1  # what is collected as garbage later on is no part of that process
            for vm in vms.values():
                vm.events.clear()
                vm.linked = False


def die(vm):
    """A member's QEMU is killed too."""
    if not vm.state.died:
        vm.state = evolve(vm.state, died="killed", pending=(), background=())


def parts_of(vm):
    """The new snapshots on its disks, as (node, id), that no other client made."""
    return [
        (node.name, part.id)
        for node in vm.state.graph.nodes
        for part in node.layer.snapshots
        if part.name == TAG and (node.name, part.id) not in vm.foreign
    ]


def orders_fit(order):
    """Whether every guest that was stopped stood before any went on."""
    last_stop = max((n for n, (_, what) in enumerate(order) if what == "stops"), default=-1)
    goes_on = [n for n, (_, what) in enumerate(order) if what == "goes on"]
    captures = [n for n, (_, what) in enumerate(order) if what == "captures"]
    if captures and not (last_stop < min(captures) and max(captures) < min(goes_on)):
        return False  # a daemon's disks, while a guest that writes to them may run
    return not goes_on or last_stop < goes_on[0]


# --- going back -----------------------------------------------------------------------------------


def saved(group, folder, run_states=None):
    """The group's VMs once it is saved and the guests have gone on; what is stored is in the folder."""
    vms = group.vms()
    assert asyncio.run(apply(group, vms, folder)).failure is None
    for vm in vms.values():
        vm.armed = False
        for _ in range(9):
            vm.state = guest_step(vm._ticked())
        vm.events.clear()
        vm.order.clear()
    for name in run_states or ():
        act(vms[name], "stop", {})
    return {name: vm.state for name, vm in vms.items()}


async def load(vms, folder, keep=""):
    """What `snapplan group load` does, from the checks on; with `--keep-current`, too."""
    store = Store(folder)
    groups = GroupStore.of(store)
    record = groups.find(GROUP)
    contexts, held, decided = {}, {}, []
    for member in record.members:
        vm, identity = vms[member.name], identity_of(member.name)
        facts, images = await survey(vm)
        manifest = store.vm(identity).manifest(TAG)
        order = plan_load(manifest, facts, images)
        order = after_keeping(order, keep) if keep else order
        decided.append(group_load._Decided(member, manifest, order))
        vm.armed = True
        contexts[member.name] = Context(vm, store, identity.address, None)
        met = Met(store, identity, facts, Instance((1,)), vm)
        held[member.name] = Held(met, store.vm(identity))
    wish = LoadWish(keep=keep)
    loading = group_load._begin(groups, record, contexts, held, decided, wish)
    if keep:
        with (
            mock.patch.object(group_save, "pump_of", _by_its_own_clock),
            mock.patch.object(group_save, "check_saving"),  # no files of a host
        ):
            await group_load._keep(contexts, decided, held, wish, loading, to_its_end)
    return await loading.run(to_its_end)


def no_two_instants(vms):
    """No guest runs while one member is back and another one is not, or half."""
    back = {name: vm.reverted == {"disk0", "disk1"} for name, vm in vms.items()}
    touched = any(vm.reverted for vm in vms.values())
    if touched and not all(back.values()):
        runs = [n for n, vm in vms.items() if not vm.state.died and vm.state.run_state == "running"]
        assert runs == [], f"{runs} run, and the members are {back}"
