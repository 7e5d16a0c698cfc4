"""`snapplan check` as a user meets it: what it prints where, and how it ends."""

import json
import sys
from pathlib import Path

import pytest

from planner.cli import main as cli
from tests.support.contract import hold

EXAMPLES = Path("specs/examples")
PROGRAMS = EXAMPLES / "programs"
EXPECTED = {
    "background-too-early.jsonl": {"tracking-before-resume", "one-instant", "outcome-seen"},
    "migrate-first.jsonl": {"nodes-active", "active-before-undo", "one-instant", "stream-readable"},
    "naive-transaction.jsonl": {"vmstate-before-snapshot", "outcome-seen", "job-not-dismissed"},
    "recorded-load.jsonl": {"tag-all-digits", "load-unchecked", "job-not-dismissed"},
    "two-pauses.qmp-shell": {"one-instant"},
}


@pytest.fixture
def snapplan(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["snapplan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        hold(sys.argv, ended.value.code, out)
        return ended.value.code, out, err

    return call


@pytest.mark.parametrize("path", sorted(PROGRAMS.iterdir()), ids=lambda path: path.name)
def test_each_example_program_has_the_findings_that_it_was_written_for(path, snapplan):
    """What is called good is clean (exit 0); every other one has exactly its findings (30)."""
    code, out, _ = snapplan("check", path, "--json")
    report = json.loads(out)
    assert {finding["code"] for finding in report["findings"]} == EXPECTED.get(path.name, set())
    assert code == report["exit-code"] == (30 if path.name in EXPECTED else 0)


def test_a_finding_names_line_rule_reason_and_remedy_on_stdout(snapplan):
    """A person reads all four; stderr stays empty."""
    path = PROGRAMS / "two-pauses.qmp-shell"
    code, out, err = snapplan("check", path)
    assert code == 30
    assert f"{path}: line 8: transaction [one-instant]" in out
    assert "the guest ran between" in out
    assert "right: capture all parts in one pause" in out
    assert err == ""


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
@pytest.mark.parametrize("name", ["one-disk", "uefi-guest", "drive-only", "twenty-disks"])
def test_what_snapplan_plans_it_finds_nothing_in(name, design, snapplan, tmp_path):
    """A plan and its session are clean, with the facts and without."""
    facts = EXAMPLES / f"{name}.facts.json"
    plan, session = tmp_path / "plan.json", tmp_path / "session"
    options = ("--facts", facts, "--design", design, "-o", plan)
    assert snapplan("plan", EXAMPLES / f"{name}.yaml", *options)[0] == 0
    session.write_text(snapplan("show", plan, "--format", "session")[1])
    for program in (plan, session):
        code, out, _ = snapplan("check", program, "--facts", facts)
        assert (code, out.count("[")) == (0, 0), out
    assert snapplan("check", plan)[0] == 0


@pytest.mark.parametrize("capture", ["stopped", "live", "background"])
@pytest.mark.parametrize("room", [EXAMPLES, EXAMPLES / "explore"])
def test_nor_in_what_it_plans_of_external_parts(room, capture, snapplan, tmp_path):
    """Steps on the host are no QMP, and what a plan waits for is seen; with a descriptor or a path."""
    name = "mixed" if room.name == "explore" else "uefi-guest"
    facts, request = room / f"{name}.facts.json", tmp_path / "request.yaml"
    text = (EXAMPLES / "explore" / f"mixed-{capture}.yaml").read_text()
    request.write_text(text + "others: exclude\n")
    plan, session = tmp_path / "plan.json", tmp_path / "session"
    code, _, err = snapplan("plan", request, "--facts", facts, "-o", plan)
    if (name, capture) == ("uefi-guest", "background"):
        assert (code, "background-unsafe" in err) == (10, True)
        return
    assert code == 0, err
    session.write_text(snapplan("show", plan, "--format", "session")[1])
    assert "# on the host: create-stream" in session.read_text()
    for options in ((), ("--facts", facts)):
        for program in (plan, session):
            code, out, _ = snapplan("check", program, *options)
            assert (code, "nothing found" in out) == (0, True), out


def test_a_plan_that_breaks_its_own_request_is_a_finding(snapplan, tmp_path):
    """An edited plan is reported with the rule that it breaks."""
    plan = tmp_path / "plan.json"
    facts = EXAMPLES / "one-disk.facts.json"
    snapplan("plan", EXAMPLES / "one-disk.yaml", "--facts", facts, "-o", plan)
    plain = json.loads(plan.read_text())
    plain["program"]["steps"][0]["arguments"]["tag"] = "other"
    plan.write_text(json.dumps(plain))
    code, out, _ = snapplan("check", plan)
    assert code == 30
    assert "[tag-differs]" in out


def test_what_cannot_be_read_ends_with_2(snapplan, tmp_path):
    """Neither QMP nor qmp-shell: exit 2, told on stderr, and nothing on stdout."""
    path = tmp_path / "mail.txt"
    path.write_text("Dear list,\n")
    code, out, err = snapplan("check", path)
    assert (code, out) == (2, "")
    assert "program-unreadable" in err
    assert snapplan("check", path, "--vm", "a", "--facts", "b")[0] == 2


def test_findings_are_printed_as_sarif(snapplan):
    """What code hosts read: each finding with its rule and line, and what was not checked as notes."""
    code, out, _ = snapplan("check", PROGRAMS / "two-pauses.qmp-shell", "--sarif")
    (run,) = json.loads(out)["runs"]
    (result,) = run["results"]
    place = result["locations"][0]["physicalLocation"]
    assert code == 30
    assert (result["ruleId"], place["region"]["startLine"]) == ("one-instant", 8)
    assert place["artifactLocation"]["uri"] == str(PROGRAMS / "two-pauses.qmp-shell")
    assert run["tool"]["driver"]["rules"] == [{"id": "one-instant"}]
    assert run["invocations"][0]["toolExecutionNotifications"]


@pytest.mark.parametrize(("version", "codes"), [("7.2", {"command-lacking"}), ("11.1", set())])
def test_a_version_without_facts_is_the_qemu_that_is_judged_by(version, codes, snapplan, tmp_path):
    """`blockdev-set-active` is there from 10.0 on."""
    program = tmp_path / "p"
    program.write_text('{"execute": "blockdev-set-active", "arguments": {"active": true}}')
    _, out, _ = snapplan("check", program, "--qemu", version, "--json")
    report = json.loads(out)
    assert {finding["code"] for finding in report["findings"]} == codes
    assert "what this QEMU's version and schema can do" not in report["unchecked"]


@pytest.mark.parametrize(
    "options", [("--qemu", "ten"), ("--qemu", "10.0", "--facts", "f"), ("--sarif", "--json")]
)
def test_options_that_contradict_each_other_are_refused(options, snapplan):
    """Exit 2, before anything is read."""
    code, _, err = snapplan("check", PROGRAMS / "two-pauses.qmp-shell", *options)
    assert code == 2
    assert "Error" in err
