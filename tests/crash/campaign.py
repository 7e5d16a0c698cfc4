"""The crash campaign: what is too slow for every test run; see script/crash-campaign."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from tests.crash import test_kills as kills
from tests.crash import test_kills_delete as deletes
from tests.crash.killing import Moments
from tests.live import test_one_qemu as one_qemu
from tests.live import test_recover as live
from tests.live import test_recover_external as external
from tests.live import test_stale_overlay as stale
from tests.property import test_fuzz
from tests.support.qemu import QemuTarget, qemu_version

SHARES = {
    "pairs": 0.3,
    "deletes": 0.15,
    "real": 0.2,
    "real-deletes": 0.1,
    "real-loads": 0.1,
    "gone": 0.1,
    "bytes": 0.05,
}
PLACES = {
    "monolithic": ("snapshot-save", "job-dismiss"),
    "transactional": ("stop", "snapshot-save", "job-dismiss", "transaction", "cont"),
}


def say(text):
    print(text, flush=True)


def pairs(until):
    """Every moment of every case, and every moment of its recovery, QEMU alive and dead."""
    done = {False: 0, True: 0}
    for number, case in enumerate(kills.CASES):
        with tempfile.TemporaryDirectory() as folder:
            planned = kills.planned_for(case)
            length = kills.moments_of(planned, Path(folder))
        for first in range(length):
            for dies in (False, True):
                for second in range(recovery_length(case, first, dies=dies)):
                    if time.monotonic() > until:
                        say(f"  stopped by time at case {number}, moment {first} of {length}")
                        return done
                    with descriptors_closed(), tempfile.TemporaryDirectory() as folder:
                        kills.pair(case, first, second, Path(folder), qemu_dies=dies)
                    done[dies] += 1
    return done


@contextlib.contextmanager
def descriptors_closed():
    """Whoever was killed inside had files open, and here nobody but us closes them."""
    before = set(Path("/proc/self/fd").iterdir())
    try:
        yield
    finally:
        for each in set(Path("/proc/self/fd").iterdir()) - before:
            with contextlib.suppress(OSError):
                os.close(int(each.name))


def recovery_length(case, first, *, dies):
    planned, moments = kills.planned_for(case), Moments()
    vm = planned.vm()
    with descriptors_closed(), tempfile.TemporaryDirectory() as folder:
        kills.run_and_kill(vm, planned, Path(folder), Moments(first))
        if dies:
            kills.die(vm)
        kills.run_recovery(vm, Path(folder), moments)
    return len(moments.seen)


def real_points():
    """(tests, design, command, after, dies): the places of each design, before and after."""
    of_external = {c: at for c, at in external.PLACES.items() if can(c)}
    for module, places in ((live, PLACES), (external, of_external)):
        for design, commands in places.items():
            yield from product((module,), (design,), commands, (False, True), (False, True))


def can(capture):
    return capture != "background" or qemu_version() >= (10, 0)


def real(until):
    """Each of `real_points` once on a real QEMU, alive and dead."""
    done = {False: 0, True: 0}
    points = list(real_points())
    for number, (module, design, command, after, dies) in enumerate(points):
        if time.monotonic() > until:
            say(f"  stopped by time after {number} of {len(points)} points")
            break
        act = module.both_die if dies else module.killed_and_recovered
        with contextlib.closing(QemuTarget()) as qemu, tempfile.TemporaryDirectory() as folder:
            try:
                act(qemu, Path(folder), design, command, after=after)
            except BaseException:
                say(f"  at {design}, {command}, {after=}, {dies=}:")
                raise
        done[dies] += 1
    return done


def deleted(until):
    """A delete that merges, killed at every moment, QEMU alive and dead, continued by hand or not."""
    done = {False: 0, True: 0}
    for case in deletes.CASES:
        with descriptors_closed(), tempfile.TemporaryDirectory() as folder:
            length = deletes.moments_of(case, Path(folder))
        for moment in range(length):
            for act, *how in (
                (deletes.snapplan_dies,),
                (deletes.both_die, False),
                (deletes.both_die, True),
            ):
                if time.monotonic() > until:
                    say(f"  stopped by time at {case}, moment {moment} of {length}")
                    return done
                with descriptors_closed(), tempfile.TemporaryDirectory() as folder:
                    act(case, moment, Path(folder), *how)
                done[bool(how)] += 1
    return done


def real_deletes(until):
    """The same at each command of a delete that merges, on a real QEMU."""
    done = {False: 0, True: 0}
    points = list(product(stale.COMMANDS, (False, True), (False, True)))
    for number, (command, after, dies) in enumerate(points):
        if time.monotonic() > until:
            say(f"  stopped by time after {number} of {len(points)} points")
            break
        act = stale.both_die if dies else stale.killed_and_finished
        with contextlib.closing(QemuTarget()) as qemu, tempfile.TemporaryDirectory() as folder:
            try:
                act(qemu, Path(folder), command, after=after)
            except BaseException:
                say(f"  at {command}, {after=}, {dies=}:")
                raise
        done[dies] += 1
    return done


def real_loads(until):
    """A load and a delete killed at each of their commands, on a real QEMU: by the tests of that."""
    left_s = until - time.monotonic()
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
    command = [*tests, "tests/live/test_load_recover.py"]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "SNAPPLAN_LONG": "1"},
            capture_output=True,
            text=True,
            timeout=max(left_s, 1),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"stopped by time after {max(left_s, 1):.0f} s"
    if done.returncode:
        raise SystemExit(done.stdout[-4000:])
    return done.stdout.strip().splitlines()[-1]


def gone(until):
    """Each command of each design once, its socket gone and QEMU alive."""
    done = 0
    places = {"internal": PLACES["transactional"], **external.PLACES}
    for capture, commands in places.items():
        for command, after in product(commands if can(capture) else (), (False, True)):
            if time.monotonic() > until:
                say(f"  stopped by time at {capture}, {command}")
                return done
            with contextlib.closing(QemuTarget()) as qemu, tempfile.TemporaryDirectory() as folder:
                try:
                    one_qemu.gone_and_recovered(qemu, Path(folder), capture, command, after=after)
                except BaseException:
                    say(f"  at {capture}, {command}, {after=}, the socket gone:")
                    raise
            done += 1
    return done


def write_seeds(folder):
    """A file of each kind, with the number of its reader in front."""
    kinds = ("request", "facts", "transactional", "manifest")
    seeds = [json.dumps(test_fuzz.FILES[kind]).encode() for kind in kinds]
    seeds += [test_fuzz.JOURNALS["transactional"], b'[{"node-name": "a", "image": {}}]']
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(bytes([number]) + seed)


def readers(seconds):
    """Arbitrary bytes for every reader, by atheris."""
    if importlib.util.find_spec("atheris") is None:
        say("  atheris is not installed; left out")
        return
    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder))
        work = ["-m", "tests.crash.arbitrary_bytes", f"-max_total_time={int(seconds)}", folder]
        done = subprocess.run(
            [sys.executable, *work], capture_output=True, text=True, errors="replace", check=False
        )
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    lines = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    say(f"  {lines[-1]}")


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    begun = time.monotonic()

    def end_of(*parts):
        return begun + 60 * minutes * sum(SHARES[part] for part in parts)

    say("1. on the semantics: a kill at every moment, and a kill of its recovery at every moment")
    found = pairs(end_of("pairs"))
    say(f"  {sum(found.values())} pairs recovered ({found[True]} of them with a dead QEMU)")
    say("   and of a delete that merges, with a guest that goes on writing")
    found = deleted(end_of("pairs", "deletes"))
    say(f"  {sum(found.values())} kills, nothing lost ({found[True]} of them with a dead QEMU)")
    version = ".".join(map(str, qemu_version()))
    say(f"2. on QEMU {version}: the commands of every design")
    found = real(end_of("pairs", "deletes", "real"))
    say(f"  {sum(found.values())} points recovered ({found[True]} of them with a dead QEMU)")
    say("   and of a delete that merges")
    found = real_deletes(end_of("pairs", "deletes", "real", "real-deletes"))
    say(f"  {sum(found.values())} points, nothing lost ({found[True]} of them with a dead QEMU)")
    say("   and of loads and of deletes without a merge")
    say(f"  {real_loads(end_of('pairs', 'deletes', 'real', 'real-deletes', 'real-loads'))}")
    say("3. the same with QEMU alive and its socket gone")
    found_gone = gone(end_of("pairs", "deletes", "real", "real-deletes", "real-loads", "gone"))
    say(f"  {found_gone} points untouched, then recovered")
    say("4. arbitrary bytes for every reader")
    readers(max(end_of(*SHARES) - time.monotonic(), 10))
    say(f"done in {(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
