"""`snapplan explore`: its contract (the page of findings: tests/model/test_validation_page.py)."""

import json
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

from tests.cli.test_commands import SNAPPLAN, example, make_plan, snapplan

SPINLESS = """\
design: mine
instructions:
  - {name: stop, does: PauseGuest}
  - {name: save, does: {in-order: [WriteVmstate, SnapshotDisk, DiscardVmstate]}}
  - {name: cont, does: ResumeGuest}
"""


def explore(*arguments, name="drive-only", **more):
    request, facts = example(name)
    return snapplan("explore", request, "--facts", facts, *arguments, **more)


def test_what_holds_exits_0_and_what_does_not_30_after_the_report():
    """The report is on stdout either way; the violation is told on stderr."""
    good = explore("--design", "transactional", "--faults", "none")
    assert good.returncode == 0
    assert good.stderr == ""
    bad = explore("--design", "naive-transaction", "--faults", "none")
    assert bad.returncode == 30
    assert "property-violated" in bad.stderr
    assert "too late for the snapshot that it has taken" in bad.stdout
    assert re.search(
        r"^\d+ states, \d+ transitions, depth \d+, [\d.]+ s; ends", bad.stdout, re.MULTILINE
    )


def test_json_is_one_object_with_every_verdict():
    """A script reads the verdicts and the stories from one object."""
    done = explore("--design", "savevm", "--other-clients", "--json")
    assert done.returncode == 30
    told = json.loads(done.stdout)
    assert told["format-version"] == 1
    verdicts = {found["id"]: found["verdict"] for found in told["properties"]}
    assert verdicts["old-intact"] == "violated"
    assert verdicts["complete"] == "holds"
    stories = {found["property"]: found["story"] for found in told["counterexamples"]}
    assert any(line["fault"] for line in stories["old-intact"])


def test_pictures_are_whole():
    """The SVG is well-formed XML, and the Mermaid diagram names every participant."""
    chosen = ("--design", "naive-transaction", "--faults", "none")
    picture = ET.fromstring(explore(*chosen, "--format", "svg").stdout)  # noqa: S314 - it is ours
    texts = "".join(picture.itertext())
    assert "QEMU" in texts
    assert "write vmstate" in texts
    lines = explore(*chosen, "--format", "mermaid").stdout.splitlines()
    assert lines[0] == "sequenceDiagram"
    named = {line.split()[1] for line in lines if "participant" in line}
    used = {word for line in lines for word in re.findall(r"\bp\d\b", line)}
    assert used == named


def test_one_property_can_be_asked_for():
    """--counterexample shows that property's run; a design that holds has a picture of its run."""
    chosen = ("--design", "naive-transaction", "--faults", "none")
    done = explore(*chosen, "--counterexample", "loadable")
    assert "Shortest run that violates loadable" in done.stdout
    held = explore(
        *("--design", "monolithic", "--faults", "none", "--format", "mermaid"),
        *("--counterexample", "loadable"),
    )
    assert (held.returncode, held.stderr) == (0, "snapplan: no run violates loadable\n")
    assert "snapshot-save" in held.stdout


def test_limits_are_judged_where_they_are_asked():
    """As any other property: in the report, in JSON, with exit code 30; a question amiss is refused."""
    asked = ("--design", "transactional", "--faults", "none", "--pause-at-most", "tracking")
    done = explore(*asked, "--monitor-answers", "--json")
    assert done.returncode == 30
    told = json.loads(done.stdout)
    assert (told["pause-at-most"], told["monitor-answers"]) == ("tracking", True)
    verdicts = {found["id"]: found["verdict"] for found in told["properties"]}
    assert verdicts["pause-within"] == verdicts["monitor-answers"] == "violated"
    told = explore(*asked).stdout
    assert "asked for      in the pause the memory is write-protected at most" in told
    assert "monitor-answers" not in told
    unasked = explore("--counterexample", "pause-within")
    assert unasked.returncode == 2
    assert "only where --pause-at-most asks for it" in unasked.stderr
    back = explore("--design", "load-today", "--pause-at-most", "rest")
    assert back.returncode == 10
    assert "this design saves nothing" in back.stderr


def test_bound_is_told():
    """A bounded search says how far it came, and calls nothing proved."""
    done = explore("--design", "monolithic", "--bound", "3")
    assert "holds to depth 3" in done.stdout
    assert "stopped: bound" in done.stdout


def test_a_plan_is_explored_as_it_is(tmp_path):
    """A plan file needs no facts; another design beside it is a usage error."""
    plan = tmp_path / "plan.json"
    make_plan(plan, name="drive-only")
    done = snapplan("explore", plan, "--faults", "none", "--format", "brief")
    assert done.stdout == "transactional, 2 disks, faults none: holds\n"
    assert snapplan("explore", plan, "--design", "savevm").returncode == 2


def test_a_design_of_ones_own_is_explored(tmp_path):
    """Five lines are enough; a mistake in them is named, and a design that covers too little refused."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(SPINLESS)
    done = explore("--design", mine, "--faults", "none", "--format", "brief")
    assert done.stdout == "mine, 2 disks, faults none: holds\n"
    mine.write_text(SPINLESS.replace("SnapshotDisk", "SnapshotDisc"))
    done = explore("--design", mine)
    assert done.returncode == 2
    assert "'SnapshotDisc' is no operation" in done.stderr
    mine.write_text(SPINLESS.replace("SnapshotDisk", "SnapshotDisk(vmstate)"))
    done = explore("--design", mine)
    assert done.returncode == 10
    assert "no instruction of it does SnapshotDisk(data)" in done.stderr


def test_unknown_design_names_those_that_there_are():
    """A wrong name is exit 2, with the right ones."""
    done = explore("--design", "nonsense")
    assert done.returncode == 2
    assert "post-copy" in done.stderr


def test_described_designs_cannot_be_planned():
    """`plan` refuses what has no QMP commands, and says what can be done with it."""
    request, facts = example("drive-only")
    done = snapplan("plan", request, "--facts", facts, "--design", "post-copy")
    assert done.returncode == 10
    assert "snapplan explore" in done.stderr
    assert snapplan("plan", request, "--facts", facts, "--design", "x").returncode == 2


def test_promela_is_written_and_nothing_searched():
    """--export promela is a model on stdout, exit 0, also for a refuted design."""
    done = explore("--design", "naive-transaction", "--export", "promela")
    assert done.returncode == 0
    assert "assert(!(bad_loadable))" in done.stdout


SENDS_ITSELF_CTRL_C = """
import os, signal, sys
from planner.cli.main import main
from planner.explore.search import Search

run = Search.run

def interrupted(self):
    for number, progress in enumerate(run(self)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        yield progress

Search.run = interrupted
sys.argv[0] = "snapplan"
main()
"""


def test_interrupted_search_tells_what_it_knows():
    """Ctrl-C in the middle of a search: the report so far, exit 130."""
    request, facts = example("twenty-disks")
    done = subprocess.run(
        [
            *(sys.executable, "-c", SENDS_ITSELF_CTRL_C, "explore", request, "--facts", facts),
            *("--design", "naive-transaction", "--faults", "two", "--no-reduction"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "stopped: interrupted" in done.stdout
    assert "holds to depth" in done.stdout


def test_a_new_design_is_written_once_and_explored_as_it_is(tmp_path):
    """It is never overwritten, is nobody else's to read, and holds."""
    path = tmp_path / "mine.yaml"
    done = snapplan("design", "new", "mine", "-o", path)
    assert done.returncode == 0
    assert f"--design {path} --watch" in done.stdout
    assert path.stat().st_mode & 0o777 == 0o600
    held = explore("--design", path, "--faults", "none", "--format", "brief")
    assert held.stdout == "mine, 2 disks, faults none: holds\n"
    again = snapplan("design", "new", "mine", "-o", path, "--json")
    assert again.returncode == 2
    assert "file-exists" in again.stdout
    assert snapplan("design", "new", "../mine").returncode == 2


def test_a_watched_design_is_explored_again_when_it_was_written(tmp_path):
    """A mistake in it is told, and is not the end; Ctrl-C is, with exit 130."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(SPINLESS)
    request, facts = example("drive-only")
    command = [SNAPPLAN, "explore", request, "--facts", facts, "--design", mine, "--watch"]
    with subprocess.Popen(
        [*command, "--faults", "none", "--format", "brief"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as watching:
        assert watching.stdout.readline() == "mine, 2 disks, faults none: holds\n"
        mine.write_text(SPINLESS.replace("DiscardVmstate", "DiscardVmState"))
        assert "is malformed" in watching.stdout.readline()
        mine.write_text(SPINLESS.replace("  - {name: stop, does: PauseGuest}\n", ""))
        lines = iter(watching.stdout.readline, "")
        assert any("violates one-instant" in line for line in lines)
        watching.send_signal(signal.SIGINT)
        watching.communicate()
    assert watching.returncode == 130
