"""A sequence of QMP commands from text: what is sent to QEMU, what was recorded, what was typed.

Read are JSON lines and a JSON array, a recorded session, a qmp-shell script and its verbose output,
a session of the human monitor (HMP), a shell script that calls virsh or speaks to a monitor's socket,
and the logs of `planner.lint.logs`.

Rules: what cannot be read is reported, never skipped in silence.  JSON may span lines, as a pretty
log does.  Of a recorded session, a command's own error and answer, QEMU's version and the events are
used; other output is not.  Lines may carry a client's and a server's arrow, as QEMU's documents
write them.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from planner.errors import BadInput, Problem
from planner.lint.human import hmp_as_qmp, hmp_command
from planner.lint.logs import LogReading, read_log
from planner.lint.program import Command, Listing, Said
from planner.lint.qemu_json import objects_in, qemu_object
from planner.lint.script import is_script, read_script
from planner.lint.shell import Shell, greeting, looks_typed
from planner.lint.typed import HMP_PROMPT, Virsh, is_virsh, shown, without_prompts

__all__ = ["read_listing"]

_ARROWS = ("->", "<-", "C:", "S:")
_SHOWN = 10
_MEMBERS = ("execute", "exec-oob", "arguments", "id")


def read_listing(text: str, source: str = "program", version: str = "") -> Listing:
    """Read a sequence of commands.

    Args:
        text: What was sent, recorded or typed.
        source: The file's name, for messages.
        version: QEMU's version, where the text does not say it itself.

    Raises:
        BadInput: A line is nothing of that kind (``program-unreadable``), there is no command in it, or
            it is of several VMs.
    """
    reader = _Reader()
    reader.read(text)
    if reader.shell.begun:
        reader.bad(reader.shell.begun, "this transaction( is never closed by )")
    if not reader.problems and not any(isinstance(e, Command) for e in reader.entries):
        reader.bad(0, "there is no QMP command in it")
    if reader.problems:
        shown_problems = tuple(reader.problems[:_SHOWN])
        raise BadInput(
            f"{source} cannot be read as a sequence of QMP commands",
            problems=shown_problems,
            code="program-unreadable",
        )
    return Listing(
        tuple(reader.entries),
        source,
        version=reader.version or version,
        passed_over=tuple(reader.passed_over),
    )


@define
class _Reader:
    """What was read so far."""

    entries: list[Command | Said] = field(factory=list)
    problems: list[Problem] = field(factory=list)
    shell: Shell = field(factory=Shell)
    ids: dict[str, int] = field(factory=dict)
    answered: int = 0
    version: str = ""
    typed_last: bool = False
    passed_over: list[str] = field(factory=list)

    def bad(self, line: int, why: str, remedy: str = "") -> None:
        where = f"line {line}" if line else "the whole"
        self.problems.append(Problem("program-unreadable", where, why, remedy))

    def read(self, text: str) -> None:
        log = read_log(text)
        lines = without_prompts(text.splitlines())
        if log is not None:
            self._log(log)
        elif text.lstrip().startswith("["):
            self._array(text)
        elif any(shown(line).startswith(HMP_PROMPT) for line in lines):
            self._monitor(lines)
        elif any(is_virsh(line) for line in lines) or is_script(lines):
            self._script(lines)
        else:
            self._lines(lines)

    def _lines(self, lines: list[str]) -> None:
        number = 0
        while number < len(lines):
            line = _without_arrow(lines[number])
            if line.startswith("{"):
                number += self._json(lines, number)
                continue
            if line and not line.startswith(("#", "//")):
                self._typed(number + 1, line)
            number += 1

    def _json(self, lines: list[str], first: int) -> int:
        """Read one JSON object, over as many lines as it takes; how many that were."""
        collected = ""
        for count, line in enumerate(lines[first:], start=1):
            stripped = _without_arrow(line)
            if count > 1 and not collected.count("{") > collected.count("}"):
                break
            collected += stripped + "\n"
            value = qemu_object(collected)
            if value is not None:
                self._object(first + 1, value)
                return count
        self.bad(first + 1, f"this is no JSON object: {lines[first].strip()[:60]}")
        return 1

    # --- other texts ---

    def _array(self, text: str) -> None:
        found = objects_in(text)
        if found is None:
            self.bad(1, "this is no JSON array of QMP messages")
        for line, value in found or ():
            self._object(line, value)

    def _log(self, log: LogReading) -> None:
        if len(log.monitors) > 1:
            names = ", ".join(log.monitors)
            remedy = "keep the lines of one of them, with grep"
            self.bad(0, f"{log.kind} is of {len(log.monitors)} monitors: {names}", remedy)
            return
        for message in log.messages:
            if message.hmp:
                self._human(message.line, message.hmp)
            elif message.value is None:
                self.bad(message.line, f"this is no whole QMP message: {message.text[:60]}")
            elif message.sent:
                self._command(message.line, message.value)
            else:
                self._object(message.line, message.value)
        if log.passed_over:
            self.passed_over.append(f"{_lines(log.passed_over)} of {log.kind} beside the messages")

    def _monitor(self, lines: list[str]) -> None:
        for number, line in enumerate(lines, start=1):
            text = shown(line)
            if text.startswith(HMP_PROMPT):
                self._human(number, text[len(HMP_PROMPT) :])

    def _human(self, number: int, line: str) -> None:
        command = hmp_command(line)
        if command is None:
            return
        self._add(number, *command, None)
        words = line.split()
        if words[0] == "migrate" and "-d" not in words:
            self._add(number, "query-migrate", {}, None)  # the monitor waits for its end

    def _script(self, lines: list[str]) -> None:
        script = read_script(lines)
        domains: dict[str, None] = {}
        for sent in script.sent:
            if sent.virsh is not None:
                self._virsh(sent.line, sent.virsh, domains)
            elif sent.value is not None:
                self._object(sent.line, sent.value)
            elif sent.unknown:
                self.entries.append(Command(sent.line, sent.unknown, foreign=True))
            elif sent.typed:
                self._typed(sent.line, sent.typed)
            else:
                self._human(sent.line, sent.hmp)
        for number, why in script.problems:
            self.bad(number, why)
        if len(domains) > 1:
            remedy = "keep the lines of one of them"
            self.bad(0, f"it is about {len(domains)} domains: {', '.join(domains)}", remedy)
        self.passed_over += [f"line {number}: what {name} is" for number, name in script.variables]
        if script.passed_over:
            count = script.passed_over
            what = "1 command of the shell script, which sends" if count == 1 else ""
            what = what or f"{count} commands of the shell script, which send"
            self.passed_over.append(f"{what} nothing to QEMU")

    def _virsh(self, number: int, call: Virsh, domains: dict[str, None]) -> None:
        if call.domain:
            domains[call.domain] = None
        if call.hmp:
            self._human(number, call.hmp)
        elif call.execute:
            self._add(number, call.execute, {}, None)
        elif call.libvirt:
            self.entries.append(Command(number, f"virsh {call.libvirt}", foreign=True))
        elif call.qmp:
            value = qemu_object(call.qmp)
            if value is None:
                self.bad(number, f"this is no JSON object: {call.qmp[:60]}")
            else:
                self._object(number, value)

    # --- a message ---

    def _object(self, line: int, value: dict[str, object]) -> None:
        if "execute" in value or "exec-oob" in value:
            self._command(line, value)
        elif "return" in value or "error" in value:
            self._answer(value)
        elif isinstance(value.get("event"), str):
            data = value.get("data", {})
            plain = data if isinstance(data, Mapping) else {}
            self.entries.append(Said(line, str(value["event"]), plain))
        elif "QMP" in value:
            self.version = _greeted_version(value["QMP"])
        else:
            self.bad(line, "this object is no QMP command, answer, event or greeting")

    def _command(self, line: int, value: dict[str, object]) -> None:
        name = value.get("execute", value.get("exec-oob", ""))
        why = _malformed(value)
        if why:
            self.typed_last = False
            self.entries.append(Command(line, str(name), malformed=why))
            return
        if not (self.typed_last and self._is_last(str(name), value.get("arguments", {}))):
            arguments = value.get("arguments", {})
            self._add(line, str(name), arguments, value.get("id"), oob="exec-oob" in value)
        self.typed_last = False

    def _is_last(self, name: str, arguments: object) -> bool:
        """Whether it is what was typed just before: `qmp-shell -v` shows what it sends."""
        last = self.entries[-1]
        return isinstance(last, Command) and (last.execute, last.arguments) == (name, arguments)

    def _add(
        self, line: int, name: str, arguments: object, command_id: object, *, oob: bool = False
    ) -> None:
        if command_id is not None:
            self.ids[str(command_id)] = len(self.entries)
        given = dict(arguments) if isinstance(arguments, Mapping) else {}
        typed = str(given.get("command-line", "")) if name == "human-monitor-command" else ""
        human = hmp_as_qmp(typed)
        name, given = human or (name, given)
        self.entries.append(Command(line, name, given, out_of_band=oob, human=human is not None))

    def _answer(self, value: Mapping[str, object]) -> None:
        at = self.ids.get(str(value.get("id"))) if "id" in value else self._first_unanswered()
        if at is None:
            return
        command = self.entries[at]
        if isinstance(command, Command):
            error, reply = value.get("error"), value.get("return")
            refused = "" if error is None else _words_of(error)
            if command.human:  # an error is a text there, and no reply is the QMP command's
                refused = str(reply).strip() if str(reply).startswith("Error") else refused
                reply = None
            self.entries[at] = evolve(command, answered=True, refused=refused, reply=reply)

    def _first_unanswered(self) -> int | None:
        # QEMU answers in order, so what is answered next is the first command without an answer.
        while self.answered < len(self.entries):
            entry = self.entries[self.answered]
            if isinstance(entry, Command) and not entry.answered:
                return self.answered
            self.answered += 1
        return None

    def _typed(self, number: int, line: str) -> None:
        told = greeting(line)
        if told is not None:
            self.version = told or self.version
            return
        if not looks_typed(line):
            self.bad(number, f"neither a QMP message nor a qmp-shell line: {line[:60]}")
            return
        try:
            command = self.shell.take(number, line)
        except (ValueError, RecursionError) as error:
            self.bad(number, f"no qmp-shell line: {error}")
            return
        if command is not None:
            self._add(*command, None)
            self.typed_last = True


def _malformed(value: Mapping[str, object]) -> str:
    """What QEMU says of an object that it takes for no command; empty: it is one."""
    if "execute" not in value and "exec-oob" not in value:
        return "QMP input lacks member 'execute'"
    if not isinstance(value.get("execute", ""), str):
        return "QMP input member 'execute' must be a string"
    if not isinstance(value.get("exec-oob", ""), str):
        return "QMP input member 'exec-oob' must be a string"
    if "execute" in value and "exec-oob" in value:
        return "QMP input member 'exec-oob' is unexpected"
    if not isinstance(value.get("arguments", {}), Mapping):
        return "QMP input member 'arguments' must be an object"
    unexpected = [key for key in value if key not in _MEMBERS]
    return f"QMP input member '{unexpected[0]}' is unexpected" if unexpected else ""


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _without_arrow(line: str) -> str:
    stripped = line.strip()
    for arrow in _ARROWS:
        if stripped.startswith(arrow):
            return stripped[len(arrow) :].strip()
    return stripped


def _words_of(error: object) -> str:
    desc = error.get("desc") if isinstance(error, Mapping) else None
    return str(desc or "an error")


def _greeted_version(greeting: object) -> str:
    try:
        numbers = greeting["version"]["qemu"]  # type: ignore[index]
        return "{major}.{minor}.{micro}".format(**numbers)
    except (KeyError, TypeError):
        return ""
