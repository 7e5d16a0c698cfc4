"""`snapplan experiment`: results that last, a run that goes on where it stopped, and refusals."""

import csv
import fcntl
import io
import json
import signal
import stat
import subprocess
import time

import pytest

from tests.support.forked import SNAPPLAN, run_snapplan
from tests.support.impostors import DEAD, LIAR, impostor
from tests.unit.build import ROOT

MATRIX = """
experiment: small
kind: explore
seed: 3
vary:
  disks: [1, 2]
  design: [monolithic, machine-snapshot-unordered]
  faults: [none, one]
"""


def experiment(tmp_path, text=MATRIX, *options, name="file.yaml"):
    """Run it; the text goes to a file first."""
    file = tmp_path / name
    file.write_text(text)
    return run_snapplan("experiment", "run", file, "-o", tmp_path / "out", *options)


def cases(tmp_path):
    return {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out/cases").iterdir()}


def without_ran(found):
    return {name: {**case, "ran": None} for name, case in found.items()}


def program(tmp_path, source):
    path = impostor(tmp_path, source)
    return f"""
experiment: own
kind: measure
time-limit-s: 4
vary: {{design: [monolithic], qemu: {{own: {path}}}}}
"""


def test_results_are_files_that_only_we_can_read_and_are_shown_again(tmp_path):
    """JSON by its schema, CSV with a line a case, a table; all of the same cases."""
    done = experiment(tmp_path, MATRIX, "--jobs", "1", "--json")
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert plain["finished"]
    assert len(plain["cases"]) == len(cases(tmp_path)) == 8
    out = tmp_path / "out"
    for path in (out, *out.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert json.loads((out / "results.json").read_text()) == plain
    assert json.loads(run_snapplan("experiment", "show", out, "--json").stdout) == plain
    rows = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    assert [row["case"] for row in rows] == [case["case"] for case in plain["cases"]]
    broken = {case["settings"]["design"] for case in plain["cases"] if case["explored"]["violated"]}
    assert {row["design"] for row in rows if row["violated"]} == broken
    said = run_snapplan("experiment", "show", out).stdout
    assert "8 of 8 cases done" in said
    assert "violates holds-machine-state, loadable" in said
    assert (out / "experiment.yaml").read_text() == MATRIX


def test_the_verdicts_are_those_of_explore(tmp_path):
    """A case is the same search as `snapplan explore` over the same request and facts."""
    folder = ROOT / "specs/examples"
    text = f"""
experiment: same
kind: explore
request: {folder / "one-disk.yaml"}
facts: {folder / "one-disk.facts.json"}
vary: {{design: [transactional, include-vmstate], client-death: [for-good], pause-at-most: [rest]}}
"""
    done = experiment(tmp_path, text, "--jobs", "1", "--json")
    assert done.returncode == 0, done.stderr
    for case in json.loads(done.stdout)["cases"]:
        alone = run_snapplan(
            *("explore", folder / "one-disk.yaml", "--facts", folder / "one-disk.facts.json"),
            *("--design", case["settings"]["design"], "--client-death", "for-good", "--json"),
            *("--pause-at-most", "rest"),
        )
        told = json.loads(alone.stdout)
        broken = [each["id"] for each in told["properties"] if each["verdict"] == "violated"]
        assert case["explored"]["states"] == told["states"]
        assert case["explored"]["violated"] == broken
        assert "pause-within" in broken
        assert case["settings"]["disks"] == 1


def test_a_run_goes_on_where_it_stopped_and_does_nothing_twice(tmp_path):
    """What has a result is not run again; what has none, or came to nothing, is."""
    assert experiment(tmp_path, MATRIX, "--jobs", "1").returncode == 0
    first = cases(tmp_path)
    gone, failed = sorted(first)[:2]
    (tmp_path / f"out/cases/{gone}.json").unlink()
    text = json.dumps({**first[failed], "state": "failed", "explored": None})
    (tmp_path / f"out/cases/{failed}.json").write_text(text)
    again = experiment(tmp_path, MATRIX, "--jobs", "1", "--progress", "json")
    assert again.returncode == 0, again.stderr
    assert "6 of 8 cases are done already" in again.stderr
    second = cases(tmp_path)
    assert without_ran(second) == without_ran(first)
    anew = {name for name in first if second[name]["ran"] != first[name]["ran"]}
    assert anew <= {gone, failed}
    steps = [json.loads(line)["progress"] for line in again.stderr.splitlines() if line[:1] == "{"]
    assert [each["step"] for each in steps if each["kind"] == "step"] == [1, 2]


def test_more_cases_are_added_and_other_ones_refused(tmp_path):
    """A larger matrix goes on in the same folder; one that would mix results does not."""
    assert experiment(tmp_path, MATRIX, "--jobs", "1").returncode == 0
    before = cases(tmp_path)
    other = experiment(tmp_path, MATRIX.replace("disks: [1, 2]", "disks: [1, 3]"), "--jobs", "1")
    assert other.returncode == 10
    assert "[experiment-differs]" in other.stderr
    assert "disks 2" in other.stderr
    assert cases(tmp_path) == before
    more = experiment(tmp_path, MATRIX.replace("disks: [1, 2]", "disks: [1, 2, 3]"), "--jobs", "1")
    assert more.returncode == 0
    assert len(cases(tmp_path)) == 12
    assert before.items() <= cases(tmp_path).items()


def test_a_design_file_that_changed_makes_other_cases(tmp_path):
    """A case is known by the design's text, not by its name."""
    design = tmp_path / "own.yaml"
    design.write_text((ROOT / "specs/designs/machine-snapshot.yaml").read_text())
    text = "experiment: own\nkind: explore\nvary: {design: [./own.yaml], disks: [1]}\n"
    assert experiment(tmp_path, text, "--jobs", "1").returncode == 0
    design.write_text(design.read_text() + "\nclient: does-not-undo\n")
    done = experiment(tmp_path, text, "--jobs", "1")
    assert done.returncode == 10
    assert "[experiment-differs]" in done.stderr


def test_nothing_is_run_where_anything_of_the_file_is_wrong(tmp_path):
    """All of it is told, and no folder is made."""
    done = experiment(tmp_path, MATRIX.replace("disks", "disk"), "--json")
    assert done.returncode == 2
    assert "did you mean disks?" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "there is no program /nowhere/qemu"),
        ("print('hello')", "without a greeting"),
        ('print(\'{"QMP": {"version": {"qemu": {"major": "a"}}}}\')', "without a greeting"),
    ],
)
def test_a_program_that_is_no_qemu_stops_it_before_the_first_case(tmp_path, source, words):
    """It is named by its key."""
    text = program(tmp_path, source or "")
    if source is None:
        text = text.replace(str(tmp_path / "qemu-system-x86_64"), "/nowhere/qemu")
    done = experiment(tmp_path, text)
    assert done.returncode == 2
    assert "[qemu-unusable] vary: qemu: own" in done.stderr
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.sample(1)
@pytest.mark.parametrize(("source", "code"), [(DEAD, "qemu-not-started"), (LIAR, "case-too-long")])
def test_a_qemu_that_dies_or_lies_is_a_case_that_failed(tmp_path, source, code):
    """The command says so by its exit code, and the same command tries again."""
    for _ in range(2):
        done = experiment(tmp_path, program(tmp_path, source), "--json")
        assert done.returncode == 20, done.stderr
        assert "came to nothing; the same command tries again [case-failed]" in done.stderr
        assert f"[{code}]" in done.stderr
        (case,) = json.loads(done.stdout)["cases"]
        assert (case["state"], [each["code"] for each in case["problems"]]) == ("failed", [code])
    shown = json.loads(run_snapplan("experiment", "show", tmp_path / "out", "--json").stdout)
    assert not shown["finished"]
    assert "failed" in run_snapplan("experiment", "show", tmp_path / "out").stdout


def test_two_runs_into_one_folder_are_one_too_many(tmp_path):
    """The second is refused as long as the first holds the folder, and changes nothing."""
    assert experiment(tmp_path, MATRIX, "--jobs", "1").returncode == 0
    before = cases(tmp_path)
    with (tmp_path / "out/.lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = experiment(tmp_path, MATRIX.replace("[1, 2]", "[1, 2, 3]"), "--jobs", "1")
    assert done.returncode == 10
    assert "[experiment-busy]" in done.stderr
    assert cases(tmp_path) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    """Nothing is written among files that are not an experiment's."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    done = experiment(tmp_path, MATRIX)
    assert done.returncode == 10
    assert "[experiment-folder-taken]" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    shown = run_snapplan("experiment", "show", tmp_path / "out")
    assert shown.returncode == 2


def test_a_result_that_somebody_changed_is_named(tmp_path):
    """It is not taken for what it is not, and the remedy is true."""
    assert experiment(tmp_path, MATRIX, "--jobs", "1").returncode == 0
    path = min((tmp_path / "out/cases").iterdir())
    plain = json.loads(path.read_text())
    for text in (
        "{",
        "[]",
        *(json.dumps({**plain, key: "x"}) for key in ("state", "case", "more")),
    ):
        path.write_text(text)
        done = run_snapplan("experiment", "show", tmp_path / "out")
        assert done.returncode == 2
        assert f"snapplan: {path}: " in done.stderr
        assert "[experiment-result-malformed]" in done.stderr
    done = experiment(tmp_path, MATRIX, "--jobs", "1")
    assert done.returncode == 2
    assert "What to do: remove the file" in done.stderr
    path.unlink()
    assert experiment(tmp_path, MATRIX, "--jobs", "1").returncode == 0


def test_no_room_for_a_result_keeps_those_that_are_there(tmp_path):
    """A limit on the size of files stands for a full disk: no file is left half written."""
    file = tmp_path / "file.yaml"
    file.write_text(MATRIX)
    words = [SNAPPLAN, "experiment", "run", file, "-o", tmp_path / "out", "--jobs", "1"]
    done = subprocess.run(
        ["prlimit", "--fsize=600", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "[file-unwritable]" in done.stderr
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [name for name in left if name.endswith(".tmp")]
    assert experiment(tmp_path, MATRIX, "--jobs", "1").returncode == 0


@pytest.mark.sample(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_keeps_what_it_has(tmp_path, number):
    """Whatever ends it, and whenever: each file is whole, and the same command ends the experiment."""
    file = tmp_path / "file.yaml"
    file.write_text(MATRIX.replace("[1, 2]", "[1, 2, 3, 4, 5, 6]"))
    words = [SNAPPLAN, "experiment", "run", file, "-o", tmp_path / "out", "--jobs", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        wait_for(lambda: len(list((tmp_path / "out").glob("cases/*.json"))) > 2)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert run.returncode in (0, 130), said
        assert run.returncode == 0 or "results so far are kept" in said
    kept = cases(tmp_path)
    again = run_snapplan(*map(str, words[1:]))
    assert again.returncode == 0, again.stderr
    assert kept.items() <= cases(tmp_path).items()
    assert len(cases(tmp_path)) == 24


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_names_of_others_are_no_formulas_and_no_escape_sequences(tmp_path):
    """A design's path in a CSV file is text for a spreadsheet, and on a terminal."""
    folder = tmp_path / "=cmd\x1b[31m"
    folder.mkdir()
    design = folder / "own.yaml"
    design.write_text((ROOT / "specs/designs/machine-snapshot.yaml").read_text())
    name = "=cmd\x1b[31m/own.yaml"
    text = json.dumps({"experiment": "=1+1", "kind": "explore", "vary": {"design": [name]}})
    done = experiment(tmp_path, text, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    (row,) = csv.DictReader(io.StringIO((tmp_path / "out/results.csv").read_text()))
    assert row["design"] == "'" + name


def test_options_that_say_nothing_together_are_refused(tmp_path):
    """A scheduler has its own workers."""
    done = experiment(tmp_path, MATRIX, "--jobs", "2", "--scheduler", "tls://nowhere:1")
    assert done.returncode == 2
    assert "leave --jobs out" in done.stderr
    assert not (tmp_path / "out").exists()
