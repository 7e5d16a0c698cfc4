"""The Ansible collection's modules, run as Ansible runs them, against a simulated QEMU.

`tests/live/test_ansible_plays.py` (long) has plays on real QEMUs, and `ansible-test sanity`.
"""

import contextlib
import textwrap

import pytest
import snapplan
import yaml

from planner.library.testing import simulated_qemu
from tests.support.ansible_tasks import COLLECTION, argument_spec, module, task
from tests.support.qmp import QmpClient

DISKS = ["disk0", "disk1"]
REQUEST = {
    "tag": "a",
    "machine-state": {"internal": "disk0"},
    "disks": {"disk0": "internal", "disk1": "internal"},
}
DELETE = "blockdev-snapshot-delete-internal-sync"
MODULES = ["snapshot", "group", "recover"]


@pytest.fixture
def run(tmp_path):
    """Runs a task with a store of the test's own."""
    return lambda module, **options: task(module, store=str(tmp_path / "store"), **options)


@pytest.fixture
def vm():
    with simulated_qemu(DISKS, qemu="7.2") as started:
        yield started


def held(vm):
    return {disk: vm.tags(disk) for disk in DISKS}


@pytest.mark.parametrize("name", MODULES)
def test_every_option_is_documented_as_it_is(name, monkeypatch):
    """Names, types, defaults and choices of the documentation are those of the argument spec."""
    documented = yaml.safe_load(module(name).DOCUMENTATION)["options"]
    fragment = (COLLECTION / "plugins/doc_fragments/vm.py").read_text().split('r"""')[1]
    documented |= yaml.safe_load(fragment.split('"""')[0])["options"]
    spec = argument_spec(name, monkeypatch)
    assert set(spec) == set(documented)
    for option, given in spec.items():
        for key in ("type", "default", "choices", "elements", "required"):
            assert given.get(key) == documented[option].get(key), (option, key)


def test_check_mode_is_the_plan_and_a_second_run_changes_nothing(vm, run):
    """Check mode sends no command that changes anything; the diff shows the steps."""
    options = {"vm": str(vm.socket), "request": REQUEST}
    planned = run("snapshot", check=True, diff=True, **options)
    assert planned["changed"]
    assert "snapshot-save  (in this order)" in planned["diff"]["prepared"]
    assert [step["execute"] for step in planned["steps"]] == ["snapshot-save"]
    assert all(each.startswith(("qmp_", "query-", "qom-")) for each in vm.commands())
    taken = run("snapshot", **options)
    assert (taken["changed"], taken["snapshot"]["standing"]) == (True, "complete")
    assert "diff" not in taken
    assert held(vm) == {"disk0": ["a"], "disk1": ["a"]}
    for check in (True, False):
        again = run("snapshot", check=check, diff=True, **options)
        assert not again["changed"], again
        assert "diff" not in again
    assert vm.commands().count("snapshot-save") == 1


def test_another_request_of_the_tag_fails_unless_it_is_to_replace(vm, run):
    address = str(vm.socket)
    held_by_one = {**REQUEST, "machine-state": {"internal": "disk1"}}
    alone = {**REQUEST, "disks": {"disk0": "internal", "disk1": "exclude"}}
    before = run("snapshot", vm=address, request=REQUEST)
    said = {**REQUEST, "description": "the same snapshot", "run-state-after": "running"}
    assert not run("snapshot", vm=address, request=said)["changed"]
    other = run("snapshot", vm=address, request=held_by_one)
    assert (other["failed"], other["error"]["code"]) == (True, "tag-taken")
    assert "something else was asked for" in other["msg"]
    assert "replace: true" in other["remedies"][0]
    assert not other["recover_first"]
    assert held(vm) == {"disk0": ["a"], "disk1": ["a"]}
    for check in (True, False):  # a part of the old one would be left
        refused = run("snapshot", vm=address, request=alone, replace=True, check=check)
        assert refused["error"]["code"] == "tag-taken"
    replaced = run("snapshot", vm=address, request=held_by_one, replace=True)
    assert not replaced["failed"], replaced
    assert replaced["changed"]
    assert replaced["snapshot"]["request_digest"] != before["snapshot"]["request_digest"]
    assert held(vm) == {"disk0": ["a"], "disk1": ["a"]}
    assert not run("snapshot", vm=address, request=held_by_one, replace=True)["changed"]


def test_a_snapshot_that_is_not_whole_is_not_taken_for_one(vm, run):
    """Somebody deleted a part: the task fails and says which, though the digest is the same."""
    options = {"vm": str(vm.socket), "request": REQUEST}
    assert run("snapshot", **options)["changed"]
    with contextlib.closing(QmpClient(vm.socket)) as other:
        other.execute(DELETE, device="disk1", name="a")
    for state in ("present", "verified"):
        failed = run("snapshot", state=state, **options)
        assert failed["failed"], failed
        assert "part-missing" in [each["code"] for each in failed["error"]["problems"]]
    assert run("snapshot", state="absent", **options)["changed"]
    assert held(vm) == {"disk0": [], "disk1": []}


def test_a_tag_alone_means_everything(vm, run):
    """One that holds everything will do, whatever it was asked with; one without a disk will not."""
    address = str(vm.socket)
    assert run("snapshot", vm=address, request=REQUEST)["changed"]
    assert not run("snapshot", vm=address, tag="a")["changed"]
    part = {**REQUEST, "tag": "b", "disks": {"disk0": "internal", "disk1": "exclude"}}
    assert run("snapshot", vm=address, request=part)["changed"]
    refused = run("snapshot", vm=address, tag="b")
    assert refused["error"]["code"] == "tag-taken"
    assert not run("snapshot", vm=address, tag="b", partial=True)["changed"]


def test_loaded_verified_absent(vm, run):
    """Each says in check mode what it would do, and does it; absent twice changes nothing."""
    options = {"vm": str(vm.socket), "tag": "a"}
    missing = run("snapshot", state="loaded", **options)
    assert missing["error"]["code"] == "snapshot-unknown"
    assert not run("snapshot", state="absent", **options)["changed"]
    run("snapshot", **options)
    verified = run("snapshot", state="verified", **options)
    assert (verified["changed"], verified["findings"]) == (False, [])
    for state, command in (("loaded", "snapshot-load"), ("absent", DELETE)):
        planned = run("snapshot", state=state, check=True, diff=True, **options)
        assert planned["changed"]
        assert "disk1 (id 1)" in planned["diff"]["prepared"]
        assert command not in vm.commands()
        assert run("snapshot", state=state, **options)["changed"]
        assert command in vm.commands()
    assert held(vm) == {"disk0": [], "disk1": []}
    assert not run("snapshot", state="absent", **options)["changed"]


def test_nothing_is_tried_again_before_recover(run):
    """Exit code 21: the next task fails before it sends anything; `recover` ends the run."""
    faults = [
        {"fault": "job-error", "step": "conclude-job", "error": "full"},
        {"fault": "error-reply", "command": DELETE, "error": "no", "times": 2},
    ]
    with simulated_qemu(DISKS, qemu="7.2", faults=faults) as vm:
        options = {"vm": str(vm.socket), "tag": "a"}
        failed = run("snapshot", **options)
        assert failed["error"]["exit_code"] == 21, failed
        assert failed["recover_first"]
        assert "Run snapplan.qemu.recover" in failed["msg"]
        assert failed["error"]["left"]
        sent = len([each for each in vm.commands() if each == "snapshot-save"])
        for state in ("present", "absent", "loaded"):
            again = run("snapshot", state=state, **options)
            assert again["error"]["code"] == "recovery-pending", again
            assert again["recover_first"]
        assert len([each for each in vm.commands() if each == "snapshot-save"]) == sent
        pending = run("recover", check=True, vm=str(vm.socket))
        assert (pending["changed"], len(pending["runs"])) == (True, 1)
        ended = run("recover", vm=str(vm.socket))
        assert (ended["changed"], ended["runs"][0]["phase"]) == (True, "undone")
        assert not run("recover", vm=str(vm.socket))["changed"]
        assert held(vm) == {"disk0": [], "disk1": []}
        assert run("snapshot", **options)["changed"]


def test_errors_have_code_and_remedy(vm, run, tmp_path):
    """What snapplan refuses fails with its code; what Ansible knows is refused by Ansible."""
    address = str(vm.socket)
    nobody = run("snapshot", vm=str(tmp_path / "none"), tag="a")
    assert nobody["error"]["exit_code"] == 12
    wrong = run("snapshot", vm=address, request={**REQUEST, "disks": {"disk7": "internal"}})
    assert wrong["error"]["code"] == "request-refused"
    assert "disk-unknown" in [each["code"] for each in wrong["error"]["problems"]]
    malformed = run("snapshot", vm=address, request={**REQUEST, "others": "perhaps"})
    assert malformed["error"]["code"] == "request-malformed"
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump(REQUEST))
    both = run("snapshot", vm=address, tag="b", request_file=str(path))
    assert both["error"]["code"] == "tag-differs"
    assert run("snapshot", vm=address, request_file=str(path), check=True)["changed"]
    assert "request" in run("snapshot", vm=address, tag="a", replace=True)["msg"]
    assert held(vm) == {"disk0": [], "disk1": []}


def test_a_target_without_snapplan_is_told_so(run, monkeypatch):
    library = module("snapshot").library
    monkeypatch.setattr(library, "snapplan", None)
    monkeypatch.setattr(library, "IMPORT_ERROR", "No module named 'snapplan'")
    missing = run("snapshot", vm="/run/vm.sock", tag="a")
    assert missing["failed"]
    assert "required Python library (snapplan)" in missing["msg"]


def tasks_in(value):
    """Every task of the collection in a YAML value."""
    if isinstance(value, list):
        for each in value:
            yield from tasks_in(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key.startswith("snapplan.qemu."):
                yield key.removeprefix("snapplan.qemu."), each
            yield from tasks_in(each)


def test_the_documented_tasks_have_options_that_there_are(monkeypatch):
    """In docs/ansible.md and in the modules' examples."""
    page = (COLLECTION.parents[4] / "docs/ansible.md").read_text()
    texts = [textwrap.dedent(each.split("```")[0]) for each in page.split("```yaml\n")[1:]]
    texts += [module(name).EXAMPLES for name in MODULES]
    found = [each for text in texts for each in tasks_in(yaml.safe_load(text))]
    assert {name for name, _ in found} == set(MODULES)
    for name, options in found:
        with monkeypatch.context() as patch:
            spec = argument_spec(name, patch)
        assert set(options) <= set(spec), options
        assert {key for key, each in spec.items() if each.get("required")} <= set(options)
        if options.get("request"):
            assert snapplan.read_request(options["request"]).tag
    assert len(found) >= 9


def test_the_digest_of_a_request_stays(tmp_path):
    """A later snapplan finds a snapshot of before again: the digest is part of the record's format."""
    digest = "48bf37f3128e5d46de45fbdb9d3aac666f00d8461bc868d7ab611ba138b27a9a"
    request = snapplan.read_request(REQUEST)
    assert snapplan.request_digest(request) == digest
    turned = {**REQUEST, "disks": {"disk1": "internal", "disk0": "internal"}}
    (tmp_path / "request.yaml").write_text(yaml.safe_dump({**turned, "others": "refuse"}))
    assert snapplan.request_digest(snapplan.read_request(tmp_path / "request.yaml")) == digest
    other = snapplan.read_request({**REQUEST, "others": "exclude"})
    assert snapplan.request_digest(other) != digest
