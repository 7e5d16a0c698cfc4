"""Pictures and pages as a user asks for them: a plan's, a comparison's, a store's."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.support.pages import read_page

SNAPPLAN = Path(sys.executable).with_name("snapplan")
EXAMPLES = Path("specs/examples").resolve()
REQUEST, FACTS = EXAMPLES / "uefi-guest.yaml", EXAMPLES / "uefi-guest.facts.json"


def snapplan(*words, code=0):
    done = subprocess.run([SNAPPLAN, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_a_plan_and_a_comparison_are_drawn(tmp_path):
    """By the commands that a user types; the page is its owner's alone."""
    plan = tmp_path / "plan.json"
    plan.write_text(snapplan("plan", REQUEST, "--facts", FACTS, "--json"))
    ET.fromstring(snapplan("show", plan, "--format", "svg"))  # noqa: S314 - our own output
    page = tmp_path / "page.html"
    assert snapplan("compare", REQUEST, "--facts", FACTS, "--html", page) == ""
    assert read_page(page.read_text()).faults == []
    assert page.stat().st_mode & 0o777 == 0o600


def test_a_vm_s_snapshots_are_a_tree_and_a_page(tmp_path):
    """Of facts, in which a disk holds a snapshot of a hostile name that nobody has recorded."""
    tag = "<script>x</script>\x1b[2J"
    facts = json.loads(FACTS.read_text())
    disk = next(each for each in facts["disks"] if each["driver"] == "qcow2")
    disk["snapshots"] = [{"id": "1", "name": tag}]
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    at = ("--facts", file, "--store", tmp_path / "store")
    tree = snapplan("list", *at, "--tree")
    assert "└─ <script>x</script>\\u001b[2J  (foreign" in tree
    text = snapplan("list", *at, "--html", "-")
    assert read_page(text).faults == []
    assert "&lt;script&gt;x&lt;/script&gt;\\u001b[2J" in text
    snapplan("list", *at, "--html", "-", "--tree", code=2)
    snapplan("list", "--store", tmp_path / "store", "--html", tmp_path / "empty.html")
    assert "0 snapshots, 0 VMs" in read_page((tmp_path / "empty.html").read_text()).text
