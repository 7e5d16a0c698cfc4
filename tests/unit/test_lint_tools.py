"""`check` over what public tools send: each trap is found, and nothing else is said."""

import json
from pathlib import Path

import pytest
import yaml

from planner.lint import lint, read_listing

SEQUENCES = Path(__file__).parents[1] / "data" / "tool_sequences.yaml"
TOOLS = {each["name"]: each for each in yaml.safe_load(SEQUENCES.read_text())}
TRAPS = {
    "full backup with a bitmap": ["10 command-refused"],
    "save, load and delete of a VM that is paused": [
        *("3 hmp-snapshot", "6 hmp-snapshot", "8 hmp-snapshot"),
    ],
    "live snapshots of several disks in one transaction": ["2 snapshot-sync-overwrites"],
    "the three jobs on one node": [
        *("2 outcome-seen", "3 load-unchecked", "4 outcome-seen"),
        *("5 delete-by-name", "6 outcome-seen"),
    ],
    "back to a snapshot whenever a guest is reset": ["1 hmp-snapshot", "2 hmp-snapshot"],
    "stopped around each save and load": ["2 hmp-snapshot", "5 hmp-snapshot"],
    "one snapshot that is replaced, and gone back to": [
        *("1 hmp-snapshot", "2 hmp-snapshot", "3 hmp-snapshot"),
    ],
    "a save is an overlay, a checkpoint is inside": [
        *("1 hmp-snapshot", "2 hmp-snapshot", "3 snapshot-sync-overwrites"),
    ],
    "an internal snapshot of a disk, by hand": [
        *("1 tag-all-digits", "2 tag-all-digits", "2 tag-taken", "3 delete-by-name"),
    ],
    "a name that nothing has": ["2 hmp-snapshot"],
    "overlays one by one, then the memory": [
        *("3 snapshot-sync-overwrites", "4 snapshot-sync-overwrites"),
    ],
    "back to one snapshot for each input": ["2 hmp-snapshot", "4 hmp-snapshot", "5 hmp-snapshot"],
    "suspended by a snapshot": ["1 hmp-snapshot", "2 hmp-snapshot"],
    "all disks copied into files": ["2 drive-backup-overwrites", "2 drive-backup-overwrites"],
    "commands of another QEMU": [
        *("1 command-lacking", "2 command-lacking", "5 command-lacking", "6 command-lacking"),
    ],
    "a VM from a template": ["4 ignore-shared-off-before-it-runs"],
    "a template is made": ["3 stream-readable"],
    "a disk that others read as it was": [],
    "an overlay made by QEMU itself": [],
    "what changed since the last backup": [],
    "a disk plugged in while the guest stands": [],
}
"""The line and the rule of each finding; the steps that only wait are not in the listing."""


ONLY_IN = {("overlays one by one, then the memory", "11.1"): ["8 fd-takes-no-file"]}


@pytest.mark.parametrize("version", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize("name", TOOLS)
def test_what_a_tool_sends_has_its_traps_and_no_others(name, version):
    lines = [json.dumps(step) for step in TOOLS[name]["program"] if "execute" in step]
    report = lint(read_listing("\n".join(lines), name, version), None)
    found = [f"{each.line} {each.rule}" for each in report.findings]
    assert found == TRAPS[name] + ONLY_IN.get((name, version), [])


def test_of_which_instant_disks_are_is_not_said_after_a_command_of_another_qemu():
    """It may have stopped the guest: that is said, and the two disks are no finding."""
    name = "commands of another QEMU"
    lines = [json.dumps(step) for step in TOOLS[name]["program"]]
    report = lint(read_listing("\n".join(lines), name, "10.0"), None)
    assert "line 4: of which instant it is: it depends on line 1" in report.unchecked
    alone = lint(read_listing("\n".join(lines[2:4]), name, "10.0"), None)
    assert [each.rule for each in alone.findings] == ["one-instant"]


def test_who_removes_the_node_of_a_copy_has_waited_for_it():
    """A list of commands has no waits; `blockdev-del` behind a backup is no mistake."""
    name = "full backup with a bitmap"
    lines = [json.dumps(step) for step in TOOLS[name]["program"] if "execute" in step]
    report = lint(read_listing("\n".join(lines), name, "10.0"), None)
    assert not [each for each in report.findings if each.execute == "blockdev-del"]
