"""All facts on one QEMU: what each one's script found, and how two reports differ.

Each fact runs in a process of its own, in a session of its own, with a folder for its files.  What hangs
is ended when its time is up, with everything that it started; what crashes is a line of the report.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.qemu_facts.lab.binaries import START_DEADLINE_S, QemuUnusable, greeting, qemu_binary
from backends.qemu_facts.lab.by_hand import CHANGED, FIXED, NOT_RUN, SAME, verdict_of
from backends.qemu_facts.lab.experiment import Experiment, experiments_of

__all__ = ["FORMAT_VERSION", "Runner", "experiments", "facts", "numbers", "title_of"]

FORMAT_VERSION = 1
PACKAGE = __name__.rpartition(".")[0]
_ROOT = Path(__file__).resolve().parents[len(PACKAGE.split("."))]
_START = "import sys, runpy; sys.path.append({!r}); runpy.run_module({!r}, run_name='__main__')"
_FACT = re.compile(r"^(\d+)\. (.*\n(?: {4}.*\n)*)", re.MULTILINE)
_ABOUT_TIME = {43}
_DOCUMENT = "qemu-facts.md"
_END_S = 5.0
_Record = dict[str, Any]


def facts() -> dict[int, str]:
    """The text of each fact, by number, as `qemu-facts.md` has it."""
    with contextlib.suppress(FileNotFoundError):
        content = pkgutil.get_data(PACKAGE, _DOCUMENT)
        if content is not None:
            return _facts_in(content.decode())
    return _facts_in((_ROOT / "specs" / _DOCUMENT).read_text(encoding="utf-8"))


def _facts_in(document: str) -> dict[int, str]:
    return {int(number): " ".join(text.split()) for number, text in _FACT.findall(document)}


def numbers() -> list[int]:
    """The facts that have a script."""
    package = importlib.import_module(PACKAGE)
    names = (found.name for found in pkgutil.iter_modules(package.__path__))
    return sorted(int(name[5:]) for name in names if name.startswith("fact_"))


def experiments(number: int) -> list[Experiment]:
    """The experiments of a fact that has a script."""
    return experiments_of(importlib.import_module(f"{PACKAGE}.fact_{number:03}"))


def title_of(number: int) -> str:
    """What a fact is about, in a line."""
    if number in numbers():
        head = importlib.import_module(f"{PACKAGE}.fact_{number:03}").__doc__ or ""
        return head.split("\n\n")[0].partition(": ")[2].rstrip(".")
    text = re.sub(r"^\*\*\[.*?\]\*\* ", "", facts().get(number, ""))
    return text if len(text) <= 70 else f"{text[:69]}…"


@dataclass
class Runner:
    """Runs facts on the QEMU that the environment names, and makes the report.

    Attributes:
        environment: what `qemu_facts.lab.by_hand.chosen` says, for this QEMU.
        limit_s: how long one fact may take.
        jobs: how many run at once.
        tell: is given each fact's record as soon as there is one.
    """

    environment: Mapping[str, str]
    limit_s: float = 300.0
    jobs: int = 2
    tell: Callable[[_Record], None] = lambda _record: None
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False

    def report(self, wanted: Iterable[int] = ()) -> _Record:
        """Run these facts, or all, and put together what came of them.

        A binary that does not answer is no error: the report says so, and that nothing was run.
        """
        known = sorted(set(wanted) or facts())
        qemu = self._asked()
        problem = qemu["problem"]
        stopped = [_not_run(number, problem) for number in known] if problem else []
        records = stopped or self._run_all(known)
        verdicts = [record["verdict"] for record in records]
        summary = {name.replace(" ", "-"): verdicts.count(name) for name in _VERDICTS}
        return {
            "format-version": FORMAT_VERSION,
            "qemu": qemu,
            "summary": summary,
            "facts": sorted(records, key=lambda record: int(record["fact"])),
        }

    def _asked(self) -> dict[str, str]:
        os.environ.update(self.environment)
        asked = {"binary": self.environment.get("SNAPPLAN_QEMU", ""), "version": "", "package": ""}
        try:
            asked["binary"] = qemu_binary()
            said = greeting(asked["binary"], min(self.limit_s, START_DEADLINE_S))
        except QemuUnusable as error:
            return {**asked, "problem": str(error)}
        numbers_ = said["qemu"]
        version = f"{numbers_['major']}.{numbers_['minor']}.{numbers_['micro']}"
        return {**asked, "version": version, "package": said["package"], "problem": ""}

    def _run_all(self, known: Iterable[int]) -> list[_Record]:
        records: list[_Record] = []
        scripts = set(numbers())
        pool = ThreadPoolExecutor(max_workers=self.jobs)
        try:
            with tempfile.TemporaryDirectory(prefix="sp-") as folder:
                _let_in(folder)
                try:
                    started = [pool.submit(self._run, n, scripts, folder) for n in known]
                    for each in as_completed(started):
                        self.tell(each.result())
                        records.append(each.result())
                finally:
                    self._end_all()
                    pool.shutdown(cancel_futures=True)
        finally:
            pool.shutdown(cancel_futures=True)
        return records

    def _run(self, number: int, scripts: set[int], folder: str) -> _Record:
        if number not in scripts:
            about_time = "about time alone, which benchmarks measure"
            return _not_run(number, about_time if number in _ABOUT_TIME else "has no script")
        with tempfile.TemporaryDirectory(prefix="sp-", dir=folder) as own:
            _let_in(own)
            try:
                return self._ran(number, own)
            finally:
                _end_detached(own)

    def _ran(self, number: int, folder: str) -> _Record:
        script = _START.format(str(_ROOT), f"{PACKAGE}.fact_{number:03}")
        with (Path(folder) / "stderr").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", script, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env={**os.environ, **self.environment, "TMPDIR": folder},
                start_new_session=True,
            )
            with self._lock:
                self._running.add(process)
                stopped = self._ended
            if stopped:
                _end(process)
            said, late = self._said(process)
            errors.seek(0)
            cut_after_s = self.limit_s if late else None
            return _record(number, said, cut_after_s, process.returncode, errors.read())

    def _said(self, process: subprocess.Popen[str]) -> tuple[str, bool]:
        late = False
        try:
            said, _ = process.communicate(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            late = True
            _end(process)
            said, _ = process.communicate()
        finally:
            _end(process)
            with self._lock:
                self._running.discard(process)
        return said, late

    def _end_all(self) -> None:
        with self._lock:
            self._ended = True
            for process in self._running:
                _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a fact's process and all that it started: they are a session of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _let_in(folder: str) -> None:
    """Let others reach what they own in a folder, and see nothing: libvirt runs as another user."""
    Path(folder).chmod(0o711)


def _end_detached(folder: str) -> None:
    """End the QEMUs that libvirt took out of the session, if a fact's process did not come to it."""
    for file in Path(folder).glob("*/run/libvirt/qemu/run/*.pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


_VERDICTS = (SAME, CHANGED, FIXED, NOT_RUN)


def _not_run(number: int, why: str) -> _Record:
    return _fact(number, NOT_RUN, why, [])


def _fact(number: int, verdict: str, why: str, ran: list[_Record]) -> _Record:
    title = title_of(number)
    return {"fact": number, "title": title, "verdict": verdict, "why": why, "experiments": ran}


def _record(number: int, said: str, cut_after_s: float | None, code: int, errors: str) -> _Record:
    """What a fact's process that has ended comes to; how long it had, if it was ended."""
    ran: list[_Record] = []
    begun = ""
    for line in said.splitlines():
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if "begins" in told:
                begun = told["begins"]
            else:
                ran.append(told)
                begun = ""
    if cut_after_s is not None:
        why = f"it did not end in {cut_after_s:.0f} s"
        ran.append(_cut(begun or "the script", CHANGED, why, cut_after_s))
    elif code not in (0, 10, 30) or not ran:
        last = (errors.strip().splitlines() or ["nothing"])[-1][:300]
        ran.append(_cut(begun or "the script", NOT_RUN, f"it ended with {code}: {last}", 0.0))
    return _fact(number, *verdict_of(ran), ran)


def _cut(name: str, verdict: str, why: str, seconds: float) -> _Record:
    return {"name": name, "claim": "", "verdict": verdict, "why": why, "seconds": seconds}
