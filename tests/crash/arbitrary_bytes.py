"""Arbitrary bytes for every reader of files and replies, by atheris; see script/crash-campaign.

Whatever the bytes are: read, or refused as a `SnapplanError`; anything else ends the process.
"""

import json
import sys

import atheris

with atheris.instrument_imports(include=["planner"]):
    from planner.compile.plan_text import read_plan
    from planner.errors import SnapplanError
    from planner.model.facts_text import read_facts
    from planner.model.replies import jobs_of, run_state_of, snapshots_of
    from planner.model.request_text import read_request
    from planner.parts.manifest_text import read_manifest
    from planner.recover.replay import replay
    from planner.run.journal import read_journal


def journal(text):
    replay(read_journal(text.encode("utf-8", "surrogatepass")))


def replies(text):
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    for read in (jobs_of, run_state_of, snapshots_of):
        try:
            read(value)
        except SnapplanError:
            continue


READERS = (read_request, read_facts, read_plan, read_manifest, journal, replies)


def one(data):
    """The first byte chooses the reader; the rest is the text."""
    reader = READERS[data[0] % len(READERS)] if data else read_request
    try:
        reader(data[1:].decode("utf-8", "surrogateescape"))
    except SnapplanError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
