"""The long campaign behind `script/campaign`: it stops when its time is over, and says what it left."""

import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from planner.explore.moves import Reductions
from planner.explore.search import explore
from planner.explore.state import ClientDeath
from tests.model.exploring import (
    BACK_DESIGNS,
    DESIGNS,
    back_setting_for,
    searched,
    setting_for,
)
from tests.model.spin import spin_and_explorer, spin_of_back

REAL = ("monolithic", "transactional", "vmstate-node", "external", "live", "background")


def verdict(report):
    return [(found.property_id, len(found.moves)) for found in report.violations]


def with_spin(design, disks, faults, death=ClientDeath.NEVER):
    """SPIN agrees with the explorer."""
    setting = setting_for(design, disks, faults=faults, client_death=death)
    report = explore(setting)
    with tempfile.TemporaryDirectory() as directory:
        spin, explorer, states = spin_and_explorer(setting, report, Path(directory))
    said = f"SPIN {states} states, explorer {report.states}: {', '.join(sorted(spin)) or 'holds'}"
    return spin == explorer, said if spin == explorer else f"{said}; explorer says {explorer}"


def with_client_death(design, disks, faults):
    """SPIN agrees also where the client dies, for good or not."""
    judged = [
        with_spin(design, disks, faults, death)
        for death in (ClientDeath.FOR_GOOD, ClientDeath.RECOVERED)
    ]
    return all(right for right, _ in judged), "; ".join(said for _, said in judged)


def back_with_spin(design, disks, faults):
    """SPIN agrees about a load or a delete, whatever becomes of the client."""
    said = []
    for death in ClientDeath:
        setting = back_setting_for(design, disks, faults=faults, client_death=death)
        with tempfile.TemporaryDirectory() as directory:
            spin = spin_of_back(setting, Path(directory))
        said.append((spin == set(searched(setting).violated), ", ".join(sorted(spin)) or "holds"))
    return all(right for right, _ in said), "; ".join(words for _, words in said)


def with_unreduced(design, disks, faults):
    """The reductions change neither a verdict nor the length of a shortest counterexample."""
    setting = setting_for(design, disks, faults=faults, other_clients=True)
    reduced, whole = explore(setting), explore(setting, Reductions.none())
    said = f"{whole.states} states in full, {reduced.states} reduced"
    return verdict(reduced) == verdict(whole), said


def with_twelve(design, disks, faults):
    """Twelve disks are explored to the end."""
    report = explore(setting_for(design, disks, faults=faults))
    return report.finished, f"{report.states} states, {report.transitions} transitions"


def cases():
    for faults, disks, design in product((0, 1, 2), (1, 2, 3, 4), DESIGNS):
        yield with_spin, design, disks, faults
    for disks, design in product((1, 2, 3, 4), DESIGNS):
        yield with_client_death, design, disks, 1
    for faults, disks, design in product((0, 1, 2), (1, 2, 3, 4), BACK_DESIGNS):
        yield back_with_spin, design, disks, faults
    for disks, faults, design in ((3, 2, d) for d in DESIGNS):
        yield with_unreduced, design, disks, faults
    for faults, design in product((1, 2), REAL):
        yield with_twelve, design, 12, faults


def main(minutes):
    end = time.monotonic() + 60 * minutes
    left = wrong = done = 0
    for judge, design, disks, faults in cases():
        if time.monotonic() > end:
            left += 1
            continue
        began = time.monotonic()
        right, said = judge(design, disks, faults)
        done, wrong = done + 1, wrong + (not right)
        took = time.monotonic() - began
        word = "ok  " if right else "DIFFERS"
        what = f"{judge.__name__:<14} {design:<26} disks={disks:<2} faults={faults}"
        print(f"{word} {what}  {took:6.2f} s  {said}", flush=True)
    print(f"{done} done, {wrong} differ, {left} left for lack of time")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
