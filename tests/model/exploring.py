"""Requests, designs and searches for the tests of the explorer."""

from functools import cache

from planner.compile.resolve import resolve
from planner.explore.acts import ClientDeath
from planner.explore.back import Purpose, back_setting, purpose_of
from planner.explore.back_search import BackSearch
from planner.explore.design import IN_AN_IMAGE, NO_MACHINE_STATE
from planner.explore.laying import instructions_for
from planner.explore.search import explore
from planner.explore.setting_of import setting_of
from planner.model.request_text import read_request
from planner.semantics import vm_state
from planner.semantics.construct import DiskDescription
from planner.verbs.design_files import built_in_designs, find_design

__all__ = [
    "BACK_DESIGNS",
    "DESIGNS",
    "EXTERNAL_DESIGNS",
    "FAULTS",
    "back_setting_for",
    "case",
    "explored",
    "explored_back",
    "facts_of",
    "request_text",
    "resolution_of",
    "searched",
    "setting_for",
]

BACK_DESIGNS = tuple(
    name for name in built_in_designs() if purpose_of(find_design(name)) is not Purpose.SAVE
)
"""Those that load or delete."""

DESIGNS = tuple(name for name in built_in_designs() if name not in BACK_DESIGNS)
FAULTS = {
    "none": {"faults": 0},
    "one": {"faults": 1},
    "two": {"faults": 2},
    "one-with-other-clients": {"faults": 1, "other_clients": True},
    "one-with-client-death": {"faults": 1, "client_death": ClientDeath.FOR_GOOD},
    "one-with-client-death-recovered": {"faults": 1, "client_death": ClientDeath.RECOVERED},
}
"""What may strike, by the key of a design file's verdict."""

EXTERNAL_DESIGNS = tuple(name for name in DESIGNS if find_design(name).capture)


def facts_of(disks=2, *, run_state="running", snapshots=(), version="7.2"):
    """Facts of a VM with qcow2 disks disk0, disk1 …, as snapplan would ask them."""
    import asyncio

    from planner.run.pump import ask_facts
    from tests.crash.faulty_vm import FaultyVm

    described = [DiskDescription(f"disk{n}", snapshots=tuple(snapshots)) for n in range(disks)]
    return asyncio.run(ask_facts(FaultyVm(vm_state(version, described, run_state=run_state), "t")))


def request_text(disks, *, machine_state="{internal: disk0}", overlays=0, copies=0, more=""):
    """A request for all disks; the last ones are copied, those before them get overlays."""
    wishes = ["internal"] * (disks - overlays - copies)
    wishes += [f"{{external: /overlays/{n}}}" for n in range(overlays)]
    wishes += [f"{{copy: /copies/{n}}}" for n in range(copies)]
    words = [f"disk{n}: {wish}" for n, wish in enumerate(wishes)]
    return f"tag: new\nmachine-state: {machine_state}\ndisks: {{{', '.join(words)}}}\n{more}"


def resolution_of(facts, **words):
    """A resolved request for all disks of a VM, in the words of `request_text`."""
    return resolve(read_request(request_text(len(facts.disks), **words)), facts)


COPIES_ALONE = ("copies-grouped",)
"""Designs that capture no disk but by a copy."""


@cache
def case(design, disks=2):
    """Facts and a resolved request that a design is for: its own capture, and then one overlay."""
    capture = find_design(design).capture
    if not capture:
        facts = _shared_facts(disks, "7.2")
        return {"facts": facts, "resolution": resolution_of(facts)}
    facts = _shared_facts(disks, "11.1")
    stream = f"{{external: /state, capture: {capture}}}"
    if capture == NO_MACHINE_STATE:
        stream = "none"
    if capture == IN_AN_IMAGE:
        stream = "{image: /state}"
    if design in COPIES_ALONE:
        return {
            "facts": facts,
            "resolution": resolution_of(facts, machine_state=stream, copies=disks),
        }
    overlays = 1 if disks > 1 else 0
    resolution = resolution_of(facts, machine_state=stream, overlays=overlays)
    return {"facts": facts, "resolution": resolution}


@cache
def _shared_facts(disks, version):
    return facts_of(disks, version=version)


def setting_for(design, disks=2, *, facts=None, resolution=None, **more):
    """What is explored: a built-in design over a request for all disks."""
    if facts is None and resolution is None:
        facts, resolution = case(design, disks).values()
    facts = facts or facts_of(disks)
    resolution = resolution or resolution_of(facts)
    instructions = instructions_for(find_design(design), resolution)
    return setting_of(resolution, instructions, design, facts, **more)


def explored(design, disks=2, *, reductions=None, bound=0, **more):
    """A search to its end."""
    return explore(setting_for(design, disks, **more), reductions, bound)


def back_setting_for(design, disks=2, *, machine_state="{internal: disk0}", **more):
    """A load or a delete: a built-in design, or one that was read, over the request that saved."""
    found = find_design(design) if isinstance(design, str) else design
    facts = _shared_facts(disks, "7.2")
    return back_setting(found, resolution_of(facts, machine_state=machine_state), **more)


def explored_back(design, disks=2, **more):
    """A search through a load or a delete, to its end."""
    return searched(back_setting_for(design, disks, **more))


def searched(setting):
    """A search through a load or a delete, to its end."""
    search = BackSearch(setting)
    for _ in search.run():
        pass
    return search.report()
