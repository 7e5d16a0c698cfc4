"""What snapplan may print where it is asked for JSON: one document that keeps to its schema.

`watched` holds every `snapplan ... --json` that a test starts, and whose output it reads, against it; so
no test needs to think of it, and none can forget it.
"""

import json
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from planner.cli.schema_files import OUTPUTS_OF, schema_files
from planner.present.outputs import SAFE_INTEGER

__all__ = ["broken", "conforms", "hold", "hold_run", "progress_lines", "validator", "watched"]

NO_OUTPUT = ("--help", "-h", "--version")
TO_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@cache
def validator(name):
    """The validator of a schema, by its name."""
    schema = json.loads(schema_files()[name].read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def conforms(name, value):
    """Fail where a value is no output of this name."""
    found = list(too_large(value))
    assert not found, f"beyond 2^53 - 1: {found}"
    validator(name).validate(value)


def too_large(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from too_large(each)
    elif isinstance(value, int) and abs(value) > SAFE_INTEGER:
        yield value


def command_of(arguments):
    """The command of a snapplan's argument list, and its words; None: it prints no JSON of ours."""
    words = [str(word) for word in arguments] if isinstance(arguments, (list, tuple)) else []
    at = next((n for n, word in enumerate(words) if is_snapplan(word)), None)
    if at is None or at + 1 == len(words):
        return None
    said = words[at + 1 :]
    said = said[: said.index("--")] if "--" in said else said
    if "--json" not in said or set(said) & set(NO_OUTPUT):
        return None
    return said[0], said


def is_snapplan(word):
    return Path(word).name == "snapplan" or "planner.cli.main import main" in word


def broken(command, said, code, printed):
    """Why what was printed is not what the contract says; empty: it is."""
    try:
        value = json.loads(printed)
    except ValueError as error:
        return f"no JSON document: {error}: {printed[:200]!r}"
    try:
        if isinstance(value, dict) and "error" in value:
            conforms("error", value)
            assert value["error"]["exit-code"] == code, "its exit-code is not the command's"
        elif command == "schema" and said[1:2] != ["--json"]:
            jsonschema.Draft202012Validator.check_schema(value)
        elif command == "inspect" and "--facts-out" in said and set(said) & set(TO_STDOUT):
            validator("facts").validate(value)  # a file, whose numbers are QEMU's
        elif command == "inspect" and "--request" in said:
            conforms("request", value)
        else:
            conforms(OUTPUTS_OF.get(command, command), value)
    except (jsonschema.ValidationError, AssertionError) as error:
        return f"{error.__class__.__name__}: {error}"
    return ""


def hold(arguments, code, printed):
    """Fail where a snapplan that was called so prints, and ends, as its contract does not say."""
    told = command_of(arguments)
    why = "" if told is None else broken(*told, code, printed)
    assert not why, f"snapplan {' '.join(told[1])} ended with {code}: {why}"


def hold_run(arguments, code, printed, said):
    """Hold what a program printed and said against its contract, if it was a snapplan."""
    if printed is not None and code >= 0:
        hold(arguments, code, printed)
    if said is not None and isinstance(arguments, list) and "--progress" in arguments:
        progress_lines(said)


def progress_lines(said):
    """The progress that stands on standard error; fails where a line keeps to no schema."""
    lines = (said.decode() if isinstance(said, bytes) else said).splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    for each in found:
        conforms("progress", each)
    return [each["progress"] for each in found]


@contextmanager
def watched():
    """Hold what every snapplan prints against its schema, as long as this lasts."""
    communicate = subprocess.Popen.communicate

    def communicating(process, *args, **kwargs):
        printed, said = communicate(process, *args, **kwargs)
        hold_run(process.args, process.returncode, printed, said)
        return printed, said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "communicate", communicating)
        yield
