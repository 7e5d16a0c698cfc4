"""The Ansible collection on real QEMUs: groups, plays of ansible-core, and `ansible-test sanity`.

`tests/cli/test_ansible.py` has what needs no QEMU.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, held
from tests.support.ansible_tasks import COLLECTION, COLLECTIONS, task
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

DISKS = ("disk0", "disk1")
REQUEST = {
    "tag": "a",
    "machine-state": {"internal": "disk0"},
    "disks": {"disk0": "internal", "disk1": "internal"},
}


@pytest.fixture
def two(qemu):
    """Two VMs, each a host's own."""
    return qemu.start(two_disks()), qemu.start(two_disks())


@pytest.fixture
def group(two, tmp_path):
    """Runs tasks about a group of both."""
    db, web = two
    members = {"db": {"vm": str(db.qmp_path), "request": REQUEST}, "web": {"vm": str(web.qmp_path)}}

    def run(**more):
        return task("group", **{"name": "g", "members": members, "store": str(tmp_path), **more})

    return run


def test_a_group_is_one_task(group, two):
    """All members in one task: planned in check mode, saved, and there the second time."""
    planned = group(check=True, diff=True)
    assert not planned["failed"], planned["msg"]
    assert planned["changed"]
    assert "every guest stands before any goes on" in planned["diff"]["prepared"]
    assert [held(vm, DISKS) for vm in two] == [{"disk0": [], "disk1": []}] * 2
    saved = group()
    assert not saved["failed"], saved["msg"]
    assert {name: each["tag"] for name, each in saved["members"].items()} == {"db": "a", "web": "g"}
    again = group()
    assert (again["failed"], again["changed"]) == (False, False)


@pytest.mark.long
def test_a_group_is_never_torn(group, two, tmp_path):
    """Loaded and deleted as a whole, by its own members alone, and not replaced by another one."""
    db, web = two
    assert group(state="loaded")["error"]["code"] == "group-unknown"
    assert not group(state="absent")["changed"]
    assert group()["changed"]
    members = {"db": {"vm": str(db.qmp_path)}}
    other = {**members, "web": {"vm": str(web.qmp_path), "request": {**REQUEST, "tag": "g2"}}}
    assert group(members=other)["error"]["code"] == "group-taken"
    assert group(members=members)["error"]["code"] == "group-member-missing"
    alone = {"vm": str(db.qmp_path), "tag": "a", "store": str(tmp_path)}
    assert task("snapshot", state="loaded", **alone)["error"]["code"] == "group-member"
    for state in ("verified", "loaded", "absent"):
        looked = group(state=state, check=True, diff=True)
        assert not looked["failed"], looked["msg"]
        assert group(state=state)["changed"] == (state != "verified")
    assert [held(vm, DISKS) for vm in two] == [{"disk0": [], "disk1": []}] * 2
    assert "mapping with vm" in group(members={"x": {"at": "y"}})["msg"]


@pytest.mark.long
def test_a_killed_task_is_recovered_first(two, tmp_path):
    """A run that was killed: nothing is tried again before `recover`, also where it comes as a retry."""
    vm = two[0]
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(REQUEST))
    with Gate(vm, "snapshot-save") as gate:
        words = [
            "apply",
            tmp_path / "request.yaml",
            "--vm",
            gate.path,
            "--store",
            tmp_path / "store",
        ]
        running = subprocess.Popen(
            [SNAPPLAN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        gate.kill(running, after=True)
    options = {"vm": str(vm.qmp_path), "store": str(tmp_path / "store")}
    refused = task("snapshot", request=REQUEST, **options)
    assert refused["error"]["code"] == "recovery-pending"
    assert refused["recover_first"]
    ended = task("recover", **options)
    assert not ended["failed"], ended["msg"]
    assert len(ended["runs"]) == 1
    taken = task("snapshot", request=REQUEST, **options)
    assert not taken["failed"], taken["msg"]
    assert held(vm, DISKS) == {"disk0": ["a"], "disk1": ["a"]}


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - name: snapshot
          snapplan.qemu.snapshot:
            vm: "{{ vm }}"
            store: "{{ store }}"
            request:
              tag: before
              machine-state: {internal: disk0}
              disks: {disk0: internal, disk1: "{{ second }}"}
          register: said
      always:
        - ansible.builtin.copy: {content: "{{ said | to_json }}", dest: "{{ store }}.json"}
          check_mode: false
          changed_when: false
          diff: false
"""
RECAP = re.compile(r"^(one|two) .*changed=(\d+) .*failed=(\d+)", re.MULTILINE)


@pytest.fixture
def plays(two, tmp_path):
    """Runs the play with ansible-core; gives changed and failed by host, results, and what it said."""
    hosts = {
        name: {
            "vm": str(vm.qmp_path),
            "store": str(tmp_path / f"store-{name}"),
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "second": "internal",
        }
        for name, vm in zip(("one", "two"), two, strict=True)
    }
    (tmp_path / "play.yaml").write_text(PLAY)
    (tmp_path / "hosts.yaml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    built = tmp_path / "collections"
    _install(built, tmp_path)

    def play(*words, **more):
        environment = _environment(tmp_path, ANSIBLE_COLLECTIONS_PATH=str(built))
        extra = [word for key, value in more.items() for word in ("-e", f"{key}={value}")]
        done = subprocess.run(
            [_tool("ansible-playbook"), "-i", "hosts.yaml", "play.yaml", *words, *extra],
            capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
        )  # fmt: skip
        told = {
            name: json.loads(Path(f"{host['store']}.json").read_text())
            for name, host in hosts.items()
        }
        counts = {
            name: (int(changed), int(failed))
            for name, changed, failed in RECAP.findall(done.stdout)
        }
        assert len(counts) == 2, done.stdout + done.stderr
        return counts, told, done.stdout

    return play


def _tool(name):
    return str(Path(sys.executable).with_name(name))


def _environment(folder, **more):
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    local = {"LC_ALL": "C.UTF-8", "HOME": str(folder), "ANSIBLE_HOME": str(folder / ".ansible")}
    return {**kept, **local, "ANSIBLE_LOCALHOST_WARNING": "false", **more}


def _install(folder, scratch):
    """As docs/ansible.md says: from a checkout."""
    galaxy = [_tool("ansible-galaxy"), "collection", "install", str(COLLECTION), "-p", str(folder)]
    done = subprocess.run(
        galaxy, capture_output=True, text=True, check=False, env=_environment(scratch)
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "ansible_collections/snapplan/qemu/MANIFEST.json").exists()


@pytest.mark.long
def test_a_play_in_check_mode_and_twice_in_a_row(plays, two):
    """Check mode changes nothing, the first run both hosts, the second none; another request fails."""
    once = {"one": (1, 0), "two": (1, 0)}
    counts, told, shown = plays("--check", "--diff")
    assert counts == once
    assert shown.count("1. snapshot-save  (in this order)") == 2
    assert [held(vm, DISKS) for vm in two] == [{"disk0": [], "disk1": []}] * 2
    counts, told, shown = plays("--diff")
    assert counts == once
    assert shown.count("1. snapshot-save  (in this order)") == 2
    assert [held(vm, DISKS) for vm in two] == [{"disk0": ["before"], "disk1": ["before"]}] * 2
    for words in ((), ("--check",)):
        counts, told, shown = plays(*words)
        assert counts == {"one": (0, 0), "two": (0, 0)}
        assert told["two"]["snapshot"]["standing"] == "complete"
    counts, told, shown = plays(second="exclude")
    assert counts == {"one": (0, 1), "two": (0, 1)}
    assert told["one"]["error"]["code"] == "tag-taken"
    assert "replace: true" in shown


GET_PIP = """import subprocess, sys
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([{python!r}, "-m", "pip", "--python", sys.executable, "install", *words])
"""
"""What ansible-test fetches from a server of Ansible's else: pip, for the Pythons of its checks."""


@pytest.mark.long
@pytest.mark.timeout(550)
def test_ansible_test_sanity(tmp_path):
    """All of ansible-core's own checks pass: documentation, argument specs, imports, style."""
    place = tmp_path / "ansible_collections/snapplan/qemu"
    shutil.copytree(COLLECTION, place, ignore=shutil.ignore_patterns("__pycache__"))
    cache = tmp_path / ".ansible/test/cache"
    cache.mkdir(parents=True)
    (cache / "get_pip_24_2.py").write_text(GET_PIP.format(python=sys.executable))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = subprocess.run(
        [_tool("ansible-test"), "sanity", "--python", version, "--color", "no"],
        capture_output=True, text=True, check=False, cwd=place,
        env=_environment(tmp_path, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = done.stdout + done.stderr
    assert [each for each in ("validate-modules", "pylint", "import") if each not in ran] == []


def test_the_collection_is_where_ansible_looks():
    assert COLLECTION.relative_to(COLLECTIONS).parts[0] == "ansible_collections"
    named = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())
    assert (named["namespace"], named["name"]) == COLLECTION.parts[-2:]
