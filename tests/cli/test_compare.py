"""`snapplan compare` as a user meets it, on recorded facts."""

import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from planner.cli import main as cli
from tests.support.contract import hold

EXAMPLES = Path("specs/examples")
REQUEST = EXAMPLES / "uefi-guest.yaml"
FACTS = EXAMPLES / "uefi-guest.facts.json"


@pytest.fixture
def snapplan(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["snapplan", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        hold(sys.argv, ended.value.code, out)
        return ended.value.code, out, err

    return call


def test_the_table_has_a_column_for_each_design(snapplan):
    """A person sees the designs side by side, and that the prediction is one."""
    code, out, err = snapplan("compare", REQUEST, "--facts", FACTS)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == [
        "DESIGN", "monolithic", "transactional", "external", "live", "background", "vmstate-node",
    ]  # fmt: skip
    assert out.splitlines()[1].split()[4:] == ["yes", "yes", "yes", "yes", "no", "yes"]
    assert out.count("\n  adapted: machine state is external in ") == 3
    assert "an estimate, no measurement" in out


def test_json_holds_what_the_table_says(snapplan):
    """A program gets the same, with a format version, in the order that was asked for."""
    code, out, _ = snapplan(
        "compare", REQUEST, "--facts", FACTS, "--designs", "transactional,monolithic", "--json"
    )
    found = json.loads(out)
    assert (code, found["format-version"]) == (0, 2)
    assert [d["design"] for d in found["designs"]] == ["transactional", "monolithic"]
    assert found["designs"][0]["qmp-commands"] == ["stop", "snapshot-save", "transaction", "cont"]
    assert found["designs"][0]["measured"] is None


def test_the_picture_is_well_formed_svg(snapplan):
    """It can be parsed, and says that it is not to scale."""
    code, out, _ = snapplan("compare", REQUEST, "--facts", FACTS, "--format", "svg")
    root = ET.fromstring(out)  # noqa: S314 - our own output
    assert code == 0
    assert root.tag.endswith("svg")
    assert "not to scale" in out


def test_proposed_designs_stand_beside_the_others(snapplan):
    """A design file is explored and not sent; every design says what all its runs come to."""
    names = "monolithic,naive-transaction,post-copy"
    code, out, _ = snapplan("compare", REQUEST, "--facts", FACTS, "--designs", names, "--json")
    assert code == 0
    monolithic, naive, post_copy = json.loads(out)["designs"]
    assert monolithic["explored"]["violated"] == ["no-vmstate-left"]
    assert "holds-machine-state" in naive["explored"]["violated"]
    assert "qmp-commands" not in naive
    assert naive["proposed-commands"][-1] == "cont"
    assert post_copy["explored"] == {
        "faults": 1, "violated": [], "client-dies": [], "client-recovered": [], "finished": True,
        "not-explored": None,
    }  # fmt: skip
    assert "run-state-restored" in naive["explored"]["client-dies"]
    assert "run-state-restored" not in naive["explored"]["client-recovered"]
    assert post_copy["predicted-pause"] == {"besides-ms": 2.0, "machine-state-ms": None}
    _, table, _ = snapplan("compare", REQUEST, "--facts", FACTS, "--designs", names)
    assert ["possible", "on", "this", "VM", "yes", "a", "proposal", "a", "proposal"] in [
        line.split() for line in table.splitlines()
    ]


def test_a_design_that_cannot_do_the_request_says_no(snapplan, tmp_path):
    """Without machine state there is no job, nor a job that is a proposal; and the reason is told."""
    request = tmp_path / "request.yaml"
    request.write_text(REQUEST.read_text().replace("{internal: disk0}", "none"))
    names = "monolithic,transactional,post-copy"
    code, out, err = snapplan("compare", request, "--facts", FACTS, "--designs", names)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[4:] == ["no", "yes", "no"]
    assert out.count("not possible: ") == 2


def test_simulated_runs_are_measured_and_called_simulated(snapplan):
    """What is sent is what a rehearsal sends; the text says whose times these are."""
    able = ("--designs", "monolithic,transactional")
    code, out, err = snapplan("compare", REQUEST, "--facts", FACTS, "--simulate", "--json", *able)
    found = json.loads(out)
    assert (code, found["simulated"]) == (0, True), err
    for design in found["designs"]:
        measured = design["measured"]
        sent = [command for together in design["round-trips"] for command in together]
        assert [span["command"] for span in measured["spans"]] == sent
        assert measured["pause-us"] > 0  # by the simulator's clock; snapplan's own runs beside it
    _, text, _ = snapplan("compare", REQUEST, "--facts", FACTS, "--simulate", *able)
    assert "times are the simulator's" in text


def test_designs_are_measured_in_rounds_and_set_side_by_side(snapplan):
    """Median and quartiles, whether they differ, and the seed that repeats the order."""
    able = ("--designs", "monolithic,transactional")
    asked = ("compare", REQUEST, "--facts", FACTS, *able, "--simulate", "--repeat", "5")
    code, out, err = snapplan(*asked, "--json", "--seed", "11")
    found = json.loads(out)
    assert (code, found["seed"]) == (0, 11), err
    assert [len(design["runs"]) for design in found["designs"]] == [5, 5]
    assert {each["figure"] for each in found["contrasts"]} == {"pause-us", "total-us"}
    assert all(each["chance"] is not None for each in found["contrasts"])
    assert err.index("run 1 of 5") < err.index("run 5 of 5")
    code, text, _ = snapplan(*asked)
    assert code == 0
    assert "5 runs each, in rounds of chance order (seed " in text
    assert "between" in text or "than in" in text


def test_repeating_is_for_measuring(snapplan):
    code, _, err = snapplan("compare", REQUEST, "--facts", FACTS, "--repeat", "5")
    assert code == 2
    assert "--repeat is for --measure and --simulate" in err


def test_facts_from_standard_input_are_simulated_too(snapplan, monkeypatch):
    """Standard input can be read once only."""
    options = ("--designs", "monolithic", "--simulate", "--json")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(FACTS.read_bytes())))
    code, out, err = snapplan("compare", REQUEST, "--facts", "-", *options)
    assert (code, json.loads(out)["simulated"]) == (0, True), err


def test_what_needs_a_host_is_not_simulated_and_says_so(snapplan):
    """Overlays and streams are files of QEMU's host, and a simulated QEMU has none."""
    room = EXAMPLES / "explore"
    options = ("--facts", room / "mixed.facts.json", "--designs", "live", "--simulate", "--json")
    code, out, err = snapplan("compare", room / "mixed-live.yaml", *options)
    (live,) = json.loads(out)["designs"]
    assert (code, live["measured"]) == (0, None)
    assert live["explored"]["violated"] == []
    assert {fault["end"] for fault in live["faults"]} == {"undone"}
    assert "live is not run" in err


@pytest.mark.parametrize(
    "options",
    [
        ("--facts", FACTS, "--measure"),
        ("--facts", FACTS, "--measure", "--simulate"),
        ("--facts", FACTS, "--designs", "nonsense"),
        (),
        ("--facts", FACTS, "--vm", "/nowhere"),
    ],
)
def test_a_wrong_command_line_ends_with_2(snapplan, options):
    """Measuring needs a VM; a design must exist; facts or a VM, not both and not neither."""
    code, out, err = snapplan("compare", REQUEST, *options)
    assert (code, out) == (2, "")
    assert err
