"""A pause longer than allowed: refused where it is foreseen, given up and undone where it is not."""

import asyncio

import pytest

from backends.qemu import connect
from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.live.external import account_of, external_request, start_mixed
from tests.live.runs import as_json, snapplan

pytestmark = pytest.mark.real_qemu

CAPTURES = [
    "internal",
    "stopped",
    pytest.param("background", marks=pytest.mark.qemu_versions(since=(10, 0))),
]


def run_within(vm, text, pause_budget_ms):
    async def work():
        link = await connect(str(vm.qmp_path))
        try:
            facts = await ask_facts(link)
            program = compile_request(read_request(text), facts).program
            pump = Pump(SaveMachine.on(program, facts), link, images=link.images, host=link.host,
                        pause_budget_ms=pause_budget_ms)  # fmt: skip
            return await pump.run()
        finally:
            await link.close()

    return asyncio.run(work())


@pytest.mark.parametrize("capture", CAPTURES)
def test_a_pause_that_grows_too_long_is_given_up(qemu, capture):
    """With next to nothing allowed the first thing after the stop is withheld; all is undone."""
    vm = start_mixed(qemu)
    before = account_of(vm)
    outcome = run_within(vm, external_request(vm, capture), 1e-6)
    assert outcome.phase is Phase.UNDONE
    assert outcome.failure.code == "pause-budget-exceeded"
    assert account_of(vm) == before
    vm.wait_guest(2, since=len(vm.console()))


def test_a_pause_that_is_foreseen_is_refused(qemu):
    """Exit 10 with the prediction; the VM was asked questions only."""
    vm = start_mixed(qemu)
    before = account_of(vm)
    done = snapplan(
        "apply", "-", "--vm", vm.qmp_path, "--pause-budget", "1", "--json",
        text=external_request(vm, "stopped"),
    )  # fmt: skip
    assert done.returncode == 10, done.stderr
    assert as_json(done)["error"]["code"] == "pause-budget-exceeded"
    assert account_of(vm) == before
