"""`--json`: one document on stdout that keeps to its schema, whatever becomes of the command.

That it keeps to its schema is seen to by the watch over all tests (`tests/support/contract.py`); here
stand the ways to get something else.
"""

import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner.cli.main import cli
from planner.cli.schema_files import schema_files
from tests.cli.test_commands import COMMANDS, SNAPPLAN, example, snapplan
from tests.support.contract import conforms

REQUEST, FACTS = example("uefi-guest")


def error(done):
    return json.loads(done.stdout)["error"]


@pytest.mark.sample(4)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_usage_error_is_json_too(command):
    """An option that is not there: exit code 2, on stdout as data, on stderr in words."""
    done = snapplan(command, "--no-such-option", "--json")
    assert (done.returncode, error(done)["code"]) == (2, "usage")
    assert "no-such-option" in done.stderr


@pytest.mark.parametrize("more", [("--no-such-option",), ("--vm", "/nobody/listens")])
def test_who_asks_by_the_environment_gets_json_at_failure_too(more):
    """SNAPPLAN_LIST_AS_JSON is --json."""
    done = snapplan("list", *more, SNAPPLAN_LIST_AS_JSON="1")
    assert done.returncode in {2, 12}
    conforms("error", json.loads(done.stdout))
    assert snapplan("list", *more, SNAPPLAN_LIST_AS_JSON="0").stdout == ""


def test_what_is_no_option_asks_for_nothing():
    """Behind -- stands an argument."""
    assert snapplan("show", "--", "--json").stdout == ""


def test_nothing_to_forget_is_said_in_json(tmp_path):
    """`recover --forget` printed text."""
    where = ("--vm", "/nobody/listens", "--store", tmp_path)
    done = snapplan("recover", *where, "--forget", "--json")
    assert (done.returncode, json.loads(done.stdout)["forgotten"]) == (0, [])
    assert snapplan("recover", *where, "--forget").stdout == "nothing to forget\n"


def test_a_drafted_request_is_json_where_json_is_asked_for(tmp_path):
    """`inspect --request` printed YAML; the JSON is a request that can be planned."""
    draft = tmp_path / "request.json"
    draft.write_text(snapplan("inspect", "--facts", FACTS, "--request", "--json").stdout)
    assert json.loads(draft.read_text())["tag"] == "my-snapshot"
    assert snapplan("plan", draft, "--facts", FACTS).returncode == 0


def test_a_model_for_spin_is_no_json():
    """`explore --export` printed Promela."""
    done = snapplan("explore", REQUEST, "--facts", FACTS, "--export", "promela", "--json")
    assert (done.returncode, error(done)["code"]) == (2, "usage")


def test_ctrl_c_before_a_run_is_json():
    """A command that waits for its input is stopped: exit code 130, as data too."""
    command = [SNAPPLAN, "plan", "-", "--facts", FACTS, "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as stopped:
        stopped.stdin.write(b"t")
        stopped.stdin.flush()
        while unread(stopped.stdin):  # when it has read that, it waits for more
            assert stopped.poll() is None
            time.sleep(0.01)
        stopped.send_signal(signal.SIGINT)
        stopped.wait(30)
        printed = stopped.stdout.read()
    assert stopped.returncode == 130
    said = json.loads(printed)["error"]
    assert (said["code"], said["undone"], said["left"]) == ("interrupted", [], [])


def unread(pipe):
    """How many bytes of a pipe nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


INTERRUPTED_AT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["snapplan", "list", "--facts", "{facts}", "--json"]
from planner.library.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["planner.cli.main", "planner.cli.list_command", "asyncio"])
def test_ctrl_c_while_the_command_is_loaded_is_json(module):
    """It waits until the command is there: no traceback, no half a module, exit code 130."""
    program = INTERRUPTED_AT.format(module=module, facts=FACTS)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, error(done)["code"]) == (130, "interrupted"), done.stderr
    conforms("error", json.loads(done.stdout))
    assert "Traceback" not in done.stderr


def huge(value):
    """The same facts with every size and time beyond what a double keeps."""
    if isinstance(value, dict):
        return {
            key: 2**60 + 513
            if key.endswith(("-bytes", "-ns")) and isinstance(each, int)
            else huge(each)
            for key, each in value.items()
        }
    return [huge(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("command", ["inspect", "list"])
def test_no_reader_of_json_rounds_a_number(command, tmp_path):
    """Read with all numbers as doubles, and written again, it is what was printed."""
    facts = huge(json.loads(Path("specs/examples/one-disk.facts.json").read_text()))
    facts["disks"][0]["snapshots"] = [
        {
            "id": "1",
            "name": "a",
            "vm-state-size-bytes": 2**60 + 1,
            "vm-clock-ns": 2**60 + 3,
            "date-ns": 2**60 + 5,
        }
    ]
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(facts))
    done = snapplan(command, "--facts", path, "--json")
    assert done.returncode == 0, done.stderr
    assert "11529215046068" in done.stdout
    as_doubles = json.loads(done.stdout, parse_int=lambda digits: int(float(digits)))
    assert as_doubles == json.loads(done.stdout)


def test_schemas_are_listed_and_printed():
    """By name, as they stand in their files; an unknown name is told."""
    listed = json.loads(snapplan("schema", "--json").stdout)["schemas"]
    assert [each["name"] for each in listed] == sorted(schema_files())
    for each in listed:
        printed = CliRunner().invoke(cli, ["schema", each["name"]])
        assert printed.stdout == schema_files()[each["name"]].read_text()
        assert json.loads(printed.stdout)["$id"] == each["id"]
    unknown = snapplan("schema", "nothing", "--json")
    assert (unknown.returncode, error(unknown)["code"]) == (2, "schema-unknown")
    assert len(snapplan("schema").stdout.splitlines()) == len(listed)
