"""What stands between a request and a plan, and between a plan and a VM."""

import pytest
from attrs import evolve

from planner.compile import plan as plan_module
from planner.compile.designs import Design
from planner.compile.plan import check_unchanged, compile_request
from planner.errors import Refused, Violation, VmChanged
from planner.model.facts import JobInfo
from tests.unit.build import codes, plan, two_disks, whole


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_a_program_is_proved_before_it_is_a_plan(monkeypatch, design):
    """A design that makes a wrong program gives no plan, whatever the rules' graph says."""
    choose = plan_module.choose_design

    def choose_wrong(name, resolution):
        chosen, why_not = choose(name, resolution)

        def instructions(resolution):
            for step in chosen.instructions(resolution):
                if step.execute == "snapshot-save":
                    step = evolve(step, arguments={**step.arguments, "tag": "another"})  # noqa: PLW2901
                yield step

        return Design(chosen.name, chosen.problems, instructions), why_not

    monkeypatch.setattr(plan_module, "choose_design", choose_wrong)
    with pytest.raises(Violation) as caught:
        compile_request(whole("disk0", "disk1"), two_disks(), design)
    assert "tag-differs" in codes(caught.value)


def left_over(the_plan, status="concluded"):
    """The job that an earlier run of this plan would have left."""
    save = next(step for step in the_plan.program.steps if step.execute == "snapshot-save")
    return JobInfo(save.arguments["job-id"], "snapshot-save", status)


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_a_job_left_by_an_earlier_run_is_found_before_the_guest_is_paused(design):
    """QEMU keeps a concluded job's id (fact 1): refused with its id, not failed half way."""
    job = left_over(plan(design))
    with pytest.raises(Refused) as caught:
        plan(design, two_disks(jobs=(job,)))
    assert caught.value.code == "job-id-taken"
    assert [(problem.code, problem.subject) for problem in caught.value.problems] == [
        ("job-id-taken", job.id)
    ]
    with pytest.raises(VmChanged) as changed:
        check_unchanged(plan(design), two_disks(jobs=(job,)))
    assert codes(changed.value) == ["job-id-taken"]


def test_another_job_that_has_ended_is_no_obstacle():
    """Only the id that this plan needs counts."""
    job = JobInfo("somebody-elses", "snapshot-save", "concluded")
    check_unchanged(plan("auto", two_disks(jobs=(job,))), two_disks(jobs=(job,)))
