"""`snapplan help`: what a message cites can be looked up by who has only the program."""

import json
import subprocess
import sys

import pytest

from planner.cli.help_pages import error_code_text, fact_text, page_text, pages
from planner.cli.main import cli


def snapplan(*words, **environment):
    """Run it."""
    return subprocess.run(
        [sys.executable, "-m", "snapplan", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment or None,
    )


@pytest.mark.parametrize("name", pages())
def test_every_page_is_shown(name):
    """As text: nothing is left of what only the site can do."""
    shown = page_text(pages()[name])
    assert shown.startswith("# ")
    assert "{eval-rst}" not in shown
    assert "{schema}" not in shown


def test_a_fact_is_one_fact():
    """From its number to the next one's."""
    assert fact_text("21").startswith("21. ")
    assert "disk-only snapshot" in fact_text("21")
    assert "\n22. " not in fact_text("21")


def test_an_error_code_is_looked_up():
    """With the exit code that it comes with."""
    assert error_code_text("disk-busy").startswith("Exit 10")
    assert error_code_text("disk-bus") == ""


@pytest.mark.parametrize("words", [["nosuch"], ["fact", "100000"], ["group", "nosuch"]])
def test_what_is_not_there_is_said(words):
    """With a code and a way out."""
    done = snapplan("help", *words)
    assert done.returncode == 2
    assert "topic-unknown" in done.stderr


def test_a_command_is_a_topic():
    """Its own help; every command has one."""
    done = snapplan("help", "group", "apply")
    assert "snapplan group apply [OPTIONS]" in done.stdout
    assert "help" in cli.list_commands(None)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_by_one_command(shell, tmp_path):
    """Where the shell looks for it, and it asks this program."""
    done = snapplan("completion", shell, "--install", HOME=str(tmp_path), PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert "_SNAPPLAN_COMPLETE" in written.read_text()
    assert str(written) in done.stdout


def test_an_error_that_cites_a_fact_says_where_it_stands(tmp_path):
    """Who has no checkout has the facts all the same."""
    (tmp_path / "request.yaml").write_text("tag: '12'\nmachine-state: none\ndisks: {}\n")
    request = str(tmp_path / "request.yaml")
    facts = "specs/examples/one-disk.facts.json"
    done = snapplan("plan", request, "--facts", facts)
    assert done.returncode == 2
    assert "snapplan help fact 9" in done.stderr
    plain = snapplan("plan", request, "--facts", facts, "--json")
    assert "(fact 9)" in json.dumps(json.loads(plain.stdout))
