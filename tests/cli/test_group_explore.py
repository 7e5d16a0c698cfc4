"""`snapplan group explore`: every run of a group, from recorded facts, without a VM."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import example, snapplan
from tests.support.contract import conforms


@pytest.fixture
def explore(tmp_path):
    """Explores two members whose facts are a file's."""
    request, facts = (Path(each).resolve() for each in example("one-disk"))
    group = tmp_path / "group.yaml"
    lines = [f"  {name}: {{vm: /none/{name}, request: {request}}}\n" for name in ("db", "web")]
    group.write_text(f"group: together\nmembers:\n{''.join(lines)}")
    recorded = [word for name in ("db", "web") for word in ("--facts", f"{name}={facts}")]
    return lambda *more: snapplan("group", "explore", group, *recorded, *more)


def test_a_group_is_explored_without_a_vm(explore):
    """Every property holds; without a gate one does not, and the shortest run that shows it is told."""
    whole = explore("--messages", "1")
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count(" holds ") == 3
    torn = explore("--messages", "1", "--without-gate", "resume", "--json")
    assert torn.returncode == 30
    said = json.loads(torn.stdout)
    conforms("group", said)
    explored = said["explored"]
    verdicts = {each["id"]: (each["verdict"], each["story"]) for each in explored["properties"]}
    verdict, story = verdicts["one-instant-of-the-group"]
    assert verdict == "violated"
    assert any("receives from" in move for move in story)
    assert verdicts["all-or-none"] == ("holds", [])
    assert "property-violated" in torn.stderr


def test_its_model_is_exported(explore):
    """Promela on stdout; with --json that would be no JSON."""
    model = explore("--export", "promela")
    assert model.returncode == 0
    assert "active proctype a_group()" in model.stdout
    assert explore("--export", "promela", "--json").returncode == 2


def test_a_member_that_is_not_there_is_refused(explore):
    """Facts of a stranger, and a VM that is not there."""
    assert explore("--facts", "stranger=/none").returncode == 2
