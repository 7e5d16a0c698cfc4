"""All facts on one QEMU, by Python alone: `python3 -m snapplan.qemu_facts --qemu BINARY`.

`snapplan conformance` does the same, and compares reports.
"""

from __future__ import annotations

import argparse
import json
import sys

from backends.qemu_facts.lab.by_hand import chosen, options
from backends.qemu_facts.report import Runner
from backends.qemu_facts.report_text import fact_line, report_text


def main() -> int:
    """Run all facts, or those that are named; print the report."""
    parser = argparse.ArgumentParser(prog="qemu_facts", description=__doc__)
    options(parser)
    parser.add_argument("--fact", type=int, action="append", default=[], metavar="N")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    arguments = parser.parse_args()
    environment = chosen(arguments.qemu, arguments.qemu_img, arguments.accel)
    runner = Runner(environment, tell=lambda record: print(fact_line(record), file=sys.stderr))
    report = runner.report(arguments.fact)
    print(json.dumps(report, indent=2) if arguments.json else report_text(report))
    if report["qemu"]["problem"]:
        return 12
    return 30 if report["summary"]["changed"] or report["summary"]["fixed"] else 0


if __name__ == "__main__":
    sys.exit(main())
