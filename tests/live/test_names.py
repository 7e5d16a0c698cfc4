"""A snapshot that somebody else has named, on a real QEMU: every command shows it, and none obeys it."""

import json
import os
import subprocess

import pytest

from tests.live.faults import start
from tests.live.runs import SNAPPLAN, request_text, snapplan
from tests.support.fixtures import long

pytestmark = pytest.mark.real_qemu

HOSTILE = "x\x1b]0;PWNED\x07\x1b[8m\nnightly  (complete, one instant)\x1b[2J\u202ekäse→日本"
LOCALES = [
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    *long({"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "ascii"}),
]


def unsafe(text):
    return {each for each in text if not each.isprintable() and each != "\n"}


def test_a_hostile_name_forges_no_line_and_no_escape(qemu):
    """As text it is on one line; as JSON it is the name."""
    vm = start(qemu)
    vm.snapshot_disks(HOSTILE, "disk0")
    where = ["--vm", vm.qmp_path]
    for command in (["list"], ["gc"], ["inspect"]):
        for more in ([], ["--json"]):
            done = snapplan(*command, *more, *where)
            assert done.returncode == 0, done.stderr
            assert not unsafe(done.stdout + done.stderr), command
    listed = snapplan("list", *where)
    assert [line for line in listed.stdout.splitlines() if line.startswith("nightly")] == []
    (entry,) = json.loads(snapplan("list", *where, "--json").stdout)["snapshots"]
    assert entry["tag"] == HOSTILE
    failed = snapplan("load", HOSTILE, *where)
    assert failed.returncode == 2
    assert not unsafe(failed.stderr)
    assert len(failed.stderr.splitlines()) <= 3


@pytest.mark.long
@pytest.mark.parametrize("locale", LOCALES, ids=str)
def test_no_locale_stops_at_a_name(qemu, locale, tmp_path):
    """A tag and a file that are not ASCII: listed, saved, told, and no other file is meant."""
    vm = start(qemu)
    vm.snapshot_disks(HOSTILE, "disk0")
    folder = tmp_path / "größe"
    folder.mkdir()
    request = folder / "anfrage.yaml"
    request.write_text(request_text("größe→日本", ["disk0", "disk1"]), encoding="utf-8")

    def say(*arguments):
        done = subprocess.run(
            [SNAPPLAN, *map(str, arguments), "--vm", vm.qmp_path],
            capture_output=True,
            check=False,
            env={**os.environ, **locale},
        )
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    say("apply", request)
    say("list")
    tags = {each["tag"] for each in json.loads(say("list", "--json"))["snapshots"]}
    assert tags == {HOSTILE, "größe→日本"}
    say("delete", "größe→日本", "--yes")
    say("inspect", "--facts-out", folder / "fäcts")
    assert {each.name for each in folder.iterdir()} == {"anfrage.yaml", "fäcts"}
