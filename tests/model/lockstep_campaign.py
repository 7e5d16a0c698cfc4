"""The long lockstep campaign behind `script/campaign`: new sequences until its time is over.

Drives the QEMU of `SNAPPLAN_QEMU` (the system's unless set) and the simulated one of that version,
and says how many sequences and commands it compared, and every difference with its seed.
"""

import sys
import time

from planner.experiment.lockstep.comparing import Asked, run_sequence
from tests.support.qemu import qemu_version

LENGTH = 25


def main(minutes: float, first_seed: int) -> int:
    end = time.monotonic() + 60 * minutes
    version = qemu_version()
    sequences = differing = commands = 0
    while time.monotonic() < end:
        seed = first_seed + sequences
        found = run_sequence(Asked(seed, LENGTH))
        sequences, commands = sequences + 1, commands + found.commands
        differing += bool(found.differences)
        for difference in found.differences:
            print(f"seed {seed}: {difference}", flush=True)
    print(
        f"QEMU {version[0]}.{version[1]}, seeds from {first_seed}: {sequences} sequences, "
        f"{commands} commands, {differing} sequences with a difference",
        flush=True,
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
