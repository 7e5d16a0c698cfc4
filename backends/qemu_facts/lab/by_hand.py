"""One fact's experiments, run from a command line.

    python3 -m snapplan.qemu_facts.fact_072 --qemu /path/to/qemu-system-x86_64

Exit status: 0 every experiment that could run found what the fact tells; 30 one did not, or the defect
that it shows is mended; 10 none could run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.qemu_facts.lab.binaries import QemuUnusable, qemu_version
from backends.qemu_facts.lab.experiment import Bench, Case, Experiment, close_kept, experiments_of
from backends.qemu_facts.lab.outcome import Fixed, NotRun

__all__ = ["CHANGED", "FIXED", "NOT_RUN", "SAME", "chosen", "options", "run_by_hand", "verdict_of"]

SAME, CHANGED, FIXED, NOT_RUN = "same", "changed", "fixed", "not run"
_EXIT = {SAME: 0, CHANGED: 30, FIXED: 30, NOT_RUN: 10}
_LONGEST = 600
_Record = dict[str, Any]


def options(parser: argparse.ArgumentParser) -> None:
    """The options that say which QEMU: `chosen` heeds them."""
    parser.add_argument("--qemu", metavar="BINARY", help="else $SNAPPLAN_QEMU, else on PATH")
    parser.add_argument("--qemu-img", metavar="BINARY", help="else the one beside it, or on PATH")
    parser.add_argument("--accel", metavar="NAME", help="the accelerator; else tcg")


def chosen(qemu: str | None, qemu_img: str | None, accel: str | None) -> dict[str, str]:
    """The environment that makes the laboratory use these; names are made absolute."""
    found = {"SNAPPLAN_QEMU": qemu, "SNAPPLAN_QEMU_IMG": qemu_img}
    paths = {
        name: str(Path(shutil.which(each) or each).absolute())
        for name, each in found.items()
        if each
    }
    return {**paths, **({"SNAPPLAN_ACCEL": accel} if accel else {})}


def run_by_hand(module: Mapping[str, Any]) -> None:
    """Run the experiments of a fact's module as its command line says; ends the process."""
    parser = argparse.ArgumentParser(description=module["__doc__"])
    options(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    parser.add_argument("--debug", action="store_true", help="show where an experiment ended")
    parser.add_argument(
        "-k", metavar="TEXT", default="", help="only experiments with this in the name"
    )
    arguments = parser.parse_args()
    os.environ.update(chosen(arguments.qemu, arguments.qemu_img, arguments.accel))
    if not arguments.json:
        print(module["__doc__"].strip())
    records = []
    for record in _records(module, arguments):
        _print(record, as_json=arguments.json)
        records.append(record)
    close_kept()
    verdict, why = verdict_of(records)
    if not arguments.json:
        print(f"{verdict}{': ' if why else ''}{why}")
    sys.exit(_EXIT[verdict])


def _records(module: Mapping[str, Any], arguments: argparse.Namespace) -> Iterator[_Record]:
    listed = [each for each in experiments_of(module) if arguments.k in each.name]
    try:
        version = qemu_version()
    except QemuUnusable as error:
        for each in listed:
            yield _record(each, Case(), NOT_RUN, str(error), 0.0)
        return
    for each in listed:
        for case in each.cases:
            if arguments.json:
                print(json.dumps({"begins": _name(each, case)}), flush=True)
            yield _run(each, case, version, debug=arguments.debug)


def _run(each: Experiment, case: Case, version: tuple[int, int], *, debug: bool) -> _Record:
    if not case.concerns(version):
        return _record(each, case, NOT_RUN, _other_versions(case), 0.0)
    began = time.monotonic()
    verdict, why = SAME, ""
    try:
        Bench().run(each, case)
    except NotRun as error:
        verdict, why = NOT_RUN, str(error)
    except Fixed as error:
        verdict, why = FIXED, str(error)
    except Exception as error:  # noqa: BLE001 - whatever a QEMU makes of it is a finding
        if debug:
            traceback.print_exc()
        name = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        verdict, why = CHANGED, f"{name}{error}"
    return _record(each, case, verdict, why, time.monotonic() - began)


def _other_versions(case: Case) -> str:
    since, before = (".".join(map(str, each)) for each in (case.since, case.before))
    if case.since == (0, 0):
        return f"concerns QEMU before {before}"
    return f"concerns QEMU {since} and later" + (
        f", before {before}" if case.before[0] < 999 else ""
    )


def _name(each: Experiment, case: Case) -> str:
    return f"{each.name} [{case.name}]" if case.name else each.name


def _record(each: Experiment, case: Case, verdict: str, why: str, seconds: float) -> _Record:
    words = " ".join(why.split())
    words = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
    return {
        "name": _name(each, case),
        "claim": each.claim,
        "verdict": verdict,
        "why": words,
        "seconds": round(seconds, 3),
    }


def _print(record: _Record, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(record), flush=True)
        return
    why = f": {record['why']}" if record["why"] else f" ({record['seconds']:.1f} s)"
    print(f"  {record['verdict']:8}{record['name']}{why}", flush=True)


def verdict_of(records: Sequence[_Record]) -> tuple[str, str]:
    """What a fact's experiments say together, and why: the first that is not as it was.

    One that changed outweighs one that is mended, and one that ran those that did not.
    """
    for verdict in (CHANGED, FIXED):
        for record in records:
            if record["verdict"] == verdict:
                return verdict, f"{record['name']}: {record['why']}"
    reasons = dict.fromkeys(r["why"] for r in records if r["verdict"] == NOT_RUN)
    if any(record["verdict"] == SAME for record in records):
        return SAME, ""
    return NOT_RUN, "; ".join(reasons) or "no experiment"
