"""`snapplan conformance`: a report whatever the binary is, and two reports compared."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.contract import conforms
from tests.support.forked import run_snapplan

LIAR = """
    import json, socket, sys
    def say(to, **message): to.write(json.dumps(message) + "\\n"); to.flush()
    def lie(reader, writer):
        say(writer, QMP={"version": {"qemu": {"major": 12, "minor": 0, "micro": 0}}, "capabilities": []})
        for line in reader:
            asked = json.loads(line)
            if asked["execute"] == "quit":
                break
            say(writer, **{"return": ["nonsense"], "id": asked.get("id")})
    if "stdio" in sys.argv:
        lie(sys.stdin, sys.stdout)
    else:
        place = next(word for word in sys.argv if word.startswith("unix:")).split(":")[1].split(",")[0]
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(place)
            listening.listen()
            with listening.accept()[0] as peer:
                lie(peer.makefile("r"), peer.makefile("w"))
"""


def binary(tmp_path, source):
    path = tmp_path / "qemu-system-x86_64"
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(source)}")
    path.chmod(0o755)
    return path


def conformance(*words):
    done = run_snapplan("conformance", *map(str, words))
    assert "Traceback" not in done.stdout + done.stderr
    return done


def report_of(*words):
    done = conformance(*words, "--json")
    report = json.loads(done.stdout)
    conforms("conformance", report)
    return done.returncode, report


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "import sys; sys.exit('no such machine')",
            "ends with 1 without a greeting of QMP: no such",
        ),
        ("import os; os.abort()", "ends with -6 without a greeting of QMP"),
        ("import time; time.sleep(600)", "says nothing for 1 s"),
        ("print('hello')", "ends with 0 without a greeting of QMP"),
        ('print(\'{"QMP": {"version": {"qemu": {"major": "x"}}}}\')', "without a greeting of QMP"),
        ('print(\'{"QMP": {"version": {"qemu": []}}}\')', "without a greeting of QMP"),
    ],
    ids=["usage", "abort", "hangs", "hello", "lies", "lies more"],
)
def test_what_is_no_qemu_is_a_report_in_which_nothing_was_run(tmp_path, source, words):
    code, report = report_of("--qemu", binary(tmp_path, source), "--time-limit", "1")
    assert code == 12
    assert words in report["qemu"]["problem"]
    assert {fact["verdict"] for fact in report["facts"]} == {"not run"}


def test_what_is_not_there_or_no_program_is_a_report_too(tmp_path):
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "missing", tmp_path / "text", tmp_path):
        done = conformance("--qemu", path)
        assert done.returncode == 12
        assert done.stdout.startswith("no QEMU: ")


def test_a_qemu_that_lies_is_a_line_a_fact(tmp_path):
    """Whatever it answers; each fact's line says what was wrong with the answer."""
    written = tmp_path / "report.json"
    liar = binary(tmp_path, LIAR)
    code, report = report_of("--qemu", liar, "--fact", "16", "--fact", "49", "--report", written)
    assert code == 30
    assert report["qemu"]["version"] == "12.0.0"
    assert {fact["verdict"] for fact in report["facts"]} == {"changed"}
    assert all(fact["why"] for fact in report["facts"])
    assert written.stat().st_mode & 0o777 == 0o600
    stored = json.loads(written.read_text())
    assert stored == {name: value for name, value in report.items() if name != "differences"}


def test_a_qemu_that_hangs_in_a_fact_is_ended_with_the_fact(tmp_path):
    hangs = LIAR.replace("asked = json.loads(line)", "import time; time.sleep(600)")
    hangs = hangs.replace('if "stdio" in sys.argv:', 'if "stdio" in sys.argv:\n        import os')
    hangs = hangs.replace("lie(sys.stdin, sys.stdout)", "print(GREETING)")
    greeting = {"QMP": {"version": {"qemu": {"major": 12, "minor": 0, "micro": 0}}}}
    source = f"GREETING = {json.dumps(json.dumps(greeting))}\n{textwrap.dedent(hangs)}"
    words = ("--fact", "49", "--time-limit", "2")
    code, report = report_of("--qemu", binary(tmp_path, source), *words)
    assert code == 30
    [fact] = report["facts"]
    assert fact["verdict"] == "changed"
    assert "it did not end in 2 s" in fact["why"]
    listed = subprocess.run(
        ["ps", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert str(tmp_path) not in listed


def stored(tmp_path, name, **verdicts):
    facts = [
        {"fact": number, "title": "t", "verdict": verdict, "why": "", "experiments": []}
        for number, verdict in ((int(key[1:]), value) for key, value in verdicts.items())
    ]
    every = [fact["verdict"] for fact in facts]
    summary = {v.replace(" ", "-"): every.count(v) for v in ("same", "changed", "fixed", "not run")}
    qemu = {"binary": "/q", "version": "7.2.0", "package": "", "problem": ""}
    path = tmp_path / name
    report = {"format-version": 1, "qemu": qemu, "summary": summary, "facts": facts}
    path.write_text(json.dumps(report))
    return path


def test_two_reports_are_compared(tmp_path):
    """By verdicts; a fact that only one has is a difference."""
    before = stored(tmp_path, "before", f1="same", f2="same", f3="not run")
    after = stored(tmp_path, "after", f1="same", f2="fixed", f4="changed")
    code, report = report_of("--read", after, "--against", before)
    assert code == 30
    told = [(each["fact"], each["before"], each["after"]) for each in report["differences"]]
    assert told == [(2, "same", "fixed"), (3, "not run", "missing"), (4, "missing", "changed")]
    assert "3 of 4 facts differ" in conformance("--read", after, "--against", before).stdout
    assert conformance("--read", after, "--against", after).returncode == 0
    assert conformance("--read", after).returncode == 30


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format-version": 2}', "[" * 100_000, '{"facts": 7}', "\udcff"]
)
def test_a_file_that_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "report"
    path.write_text(text, errors="surrogateescape")
    done = conformance("--read", path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] in {"report-malformed", "file-unreadable"}


def test_a_fact_that_is_none_is_refused():
    done = conformance("--qemu", "/bin/true", "--fact", "9999", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "fact-unknown"


@pytest.mark.real_qemu
def test_one_fact_by_hand_with_python_alone(tmp_path):
    """No package of anybody's is to be had (-S, -I), no qemu-img is on the path: it runs."""
    root = Path(__file__).parents[2]
    from tests.support.qemu import qemu_binary

    start = f"import sys, runpy; sys.path.append({str(root)!r}); sys.argv[1:] = sys.argv[1:]; "
    start += "runpy.run_module('backends.qemu_facts.fact_025', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start, "--qemu", qemu_binary()],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere", "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "same"
