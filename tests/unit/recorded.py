"""What real QEMUs answered to a survey (tests/data/replies-*.json), and answers like it.

Recorded from Debian's 7.2.22, 10.0 and 11.1.3 with `-S` and these disks: `disk0` (qcow2, a snapshot, a
persistent bitmap), `vars0` (raw), `disk1` (throttle over `disk1-format`), `disk2` (over `disk2-base`),
`drive0` and `drive1` (`-drive`, the latter with `throttling.iops-total`), `disk4` (external data
file), `disk5` (mirrored to `target`), `spare` (no device), `ro0` (read-only), and an empty CD drive.
"""

import json

from planner.run.actions import ErrorReply, NoAnswer, Returned, Send
from planner.run.survey import survey
from tests.unit.build import ROOT, SCHEMAS

VERSIONS = tuple(SCHEMAS)


def replies(version="7.2"):
    """A new copy of the recorded replies, by command; the schema is the one kept for tests."""
    found = json.loads((ROOT / f"tests/data/replies-{version}.json").read_text())
    return {**found, "query-qmp-schema": json.loads(json.dumps(SCHEMAS[version]))}


def ask(answers):
    """Run a survey against these answers, `qom-list`'s by path; a command without one is unknown."""
    asking = survey()
    send = next(asking)
    while True:
        assert isinstance(send, Send)
        answer = answers.get(send.command, ErrorReply("CommandNotFound", "no such command"))
        if send.command == "qom-list" and isinstance(answer, dict):
            nowhere = ErrorReply("DeviceNotFound", "no such place")
            answer = answer.get(send.arguments["path"], nowhere)
        told = answer if isinstance(answer, ErrorReply | NoAnswer) else Returned(answer)
        try:
            send = asking.send(told)
        except StopIteration as end:
            return end.value
