"""What a shell script sends to QEMU: calls of virsh, and text that goes to a monitor's socket.

Read are the words of each command as the shell parts them, and here-documents.  A word that holds QMP
messages is read wherever it stands, since scripts hand them to functions of their own.  Other text is
read only where it goes to a monitor: what ``echo``, ``printf`` or ``cat`` gives to ``socat``, ``nc`` or
``qmp-shell``.

Rules: nothing is run and no variable is filled in.  What a variable stands for is not known, and each
line where that matters is told.  A loop is read once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

from planner.lint.qemu_json import objects_with_lines
from planner.lint.typed import Virsh, virsh_call

__all__ = ["Sent", "is_script", "read_script"]

_CONNECTORS = ("socat", "nc", "ncat", "netcat", "telnet")
_TYPERS = ("qmp-shell", "qmp-shell-wrap")
_GO_ON = ("|", "|&", "&&")
_SPEAKERS = ("echo", "printf")
_SOCKET = re.compile(
    r"(?:\|\s*(?:sudo\s+)?(?:\S*/)?|^\s*(?:sudo\s+)?)"
    rf"(?:{'|'.join((*_CONNECTORS, *_TYPERS))})\b(?!:)"
)
_SHEBANG = re.compile(r"#!.*\b(?:ba|da|k|z)?sh\b")
_EXECUTE = re.compile(r"""["']execute["']\s*:""")
_VARIABLE = re.compile(r"\$(?:\{[^}]*\}|\w+|\()")
_BEFORE = (
    "sudo",
    "then",
    "do",
    "else",
    "if",
    "while",
    "until",
    "!",
    "{",
    "(",
    "time",
    "exec",
    "env",
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_BEFORE_OPTION = re.compile(r"-\S+")


@frozen
class Sent:
    """Something that a script sends.

    Attributes:
        line: Where it stands, from 1.
        value: A QMP message; None: it is something else.
        hmp: A line for the human monitor; empty: none.
        typed: A line for qmp-shell; empty: none.
        virsh: A call of virsh; None: none.
        unknown: What is sent and cannot be known, since a variable stands for it; empty: nothing.
    """

    line: int
    value: dict[str, object] | None = None
    hmp: str = ""
    typed: str = ""
    virsh: Virsh | None = None
    unknown: str = ""


@frozen
class ScriptReading:
    """What a script sends, and what of it was not read.

    Attributes:
        sent: In its order.
        problems: Lines that cannot be read, with the reason.
        passed_over: How many commands of it send nothing.
        variables: Lines at which a variable's value would have to be known.
    """

    sent: tuple[Sent, ...]
    problems: tuple[tuple[int, str], ...]
    passed_over: int
    variables: tuple[tuple[int, str], ...]


def is_script(lines: Sequence[str]) -> bool:
    """Whether lines are a shell script that speaks to a monitor's socket."""
    first = next((line for line in lines if line.strip()), "")
    return bool(_SHEBANG.match(first)) or any(_SOCKET.search(line) for line in lines)


def read_script(lines: Sequence[str]) -> ScriptReading:
    """Read a shell script's lines."""
    reader = _Script(list(lines))
    while reader.at < len(reader.lines):
        reader.command()
    variables = tuple(dict.fromkeys(reader.variables))
    return ScriptReading(tuple(reader.sent), tuple(reader.problems), reader.passed_over, variables)


@frozen
class _Word:
    text: str
    line: int


@define
class _Script:
    lines: list[str]
    at: int = 0
    sent: list[Sent] = field(factory=list)
    problems: list[tuple[int, str]] = field(factory=list)
    variables: list[tuple[int, str]] = field(factory=list)
    passed_over: int = 0

    def command(self) -> None:
        """Read one line of the script, with the lines that it goes on in."""
        first, end = self.at + 1, _Ending()
        while self.at < len(self.lines):
            end.read(self.lines[self.at])
            self.at += 1
            if not end.is_open:
                break
        try:
            words = _words("\n".join(self.lines[first - 1 : self.at]), first)
        except ValueError:
            self.problems.append((first, "a quote is opened here and never closed"))
            return
        for pipeline in _parted(words, (";", "&&", "||", "&", ";;", "(", ")")):
            self._pipeline(pipeline)

    def _pipeline(self, words: list[_Word]) -> None:
        stages = [_bare(stage) for stage in _parted(words, ("|", "|&"))]
        before = len(self.sent), len(self.problems), len(self.variables)
        sinks = [stage[0].text.rpartition("/")[2] for stage in stages if stage]
        typed = any(name in _TYPERS for name in sinks)
        to_monitor = typed or any(name in _CONNECTORS for name in sinks)
        for stage in stages:
            if not stage:
                continue
            if stage[0].text.rpartition("/")[2] == "virsh":
                self._virsh(stage)
                continue
            texts = list(self._texts(stage, to_monitor=to_monitor))
            if to_monitor:
                texts += _spoken(stage)
            for word, is_whole in texts:
                self._text(word, whole=is_whole and to_monitor, typed=typed)
        if before == (len(self.sent), len(self.problems), len(self.variables)):
            self.passed_over += any(stages)

    def _texts(self, stage: list[_Word], *, to_monitor: bool) -> Iterator[tuple[_Word, bool]]:
        """The words that may hold messages, and the here-documents."""
        here = ""
        for word in stage:
            if here == "<<":
                yield self._document(word), True
            elif here == "<<<":
                yield word, True
            elif not (to_monitor and _is_spoken(stage)):
                yield word, False
            here = word.text if word.text in ("<<", "<<<") else ""

    def _document(self, mark: _Word) -> _Word:
        end = mark.text.removeprefix("-")
        first, found = self.at + 1, []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if (line.strip() if mark.text.startswith("-") else line) == end:
                break
            found.append(line)
        return _Word("\n".join(found), first)

    def _text(self, word: _Word, *, whole: bool, typed: bool) -> None:
        messages = [
            (word.line + line, value)
            for line, value in objects_with_lines(word.text)
            if "execute" in value or "exec-oob" in value
        ]
        if messages:
            self.sent += [_message(line, value) for line, value in messages]
            named = [match[0] for match in _VARIABLE.finditer(word.text)]
            self.variables += [(word.line, name) for name in named]
        elif _EXECUTE.search(word.text):
            self._unreadable(word)
        elif whole:
            self._lines_of(word, typed=typed)

    def _unreadable(self, word: _Word) -> None:
        variable = _VARIABLE.search(word.text)
        if variable is not None:
            self.sent.append(Sent(word.line, unknown=f"a message with {variable[0]} in it"))
        else:
            text = f"a QMP message that cannot be read: {word.text.strip()[:60]}"
            self.problems.append((word.line, text))

    def _lines_of(self, word: _Word, *, typed: bool) -> None:
        for number, line in enumerate(word.text.replace("\\n", "\n").splitlines(), word.line):
            if _VARIABLE.fullmatch(line.strip()):
                self.sent.append(Sent(number, unknown=line.strip()))
            elif line.strip():
                self.sent.append(Sent(number, typed=line) if typed else Sent(number, hmp=line))

    def _virsh(self, stage: list[_Word]) -> None:
        line = stage[0].line
        try:
            call = virsh_call([word.text for word in stage[1:]])
        except ValueError as error:
            self.problems.append((line, f"no call of virsh: {error}"))
            return
        self.sent.append(Sent(line, virsh=call))


def _message(line: int, value: dict[str, object]) -> Sent:
    arguments = value.get("arguments")
    if isinstance(arguments, str) and _VARIABLE.fullmatch(arguments):
        return Sent(line, unknown=f"{value.get('execute')} with {arguments}")
    return Sent(line, value)


@define
class _Ending:
    """Whether a command goes on behind the lines that were read.

    Attributes:
        quote: The quote that is open; empty: none.
        is_open: Whether the next line belongs to it: a quote is open, or a backslash or an operator is
            at the end.
    """

    quote: str = ""
    is_open: bool = False

    def read(self, line: str) -> None:
        place = 0
        while place < len(line):
            character = line[place]
            if character == "\\" and self.quote != "'":
                place += 1
            elif self.quote:
                self.quote = "" if character == self.quote else self.quote
            elif character in "'\"":
                self.quote = character
            elif character == "#" and (place == 0 or line[place - 1].isspace()):
                break  # a comment
            place += 1
        escaped = place > len(line)
        self.is_open = bool(self.quote) or escaped or line[:place].rstrip().endswith(_GO_ON)


def _words(text: str, first: int) -> list[_Word]:
    """The words of a command and its operators.

    Raises:
        ValueError: A quote is never closed, or nothing stands behind a backslash.
    """
    lexer = shlex.shlex(text.replace("\\\n", " \n"), posix=True, punctuation_chars=";|&()<>")
    lexer.whitespace_split = True
    found, cursor = [], 0
    for token in iter(lexer.get_token, None):
        begin = text.find(token.split("\n", maxsplit=1)[0][:20], cursor)
        cursor = max(begin, cursor)
        found.append(_Word(token, first + text.count("\n", 0, cursor)))
    return found


def _parted(words: list[_Word], operators: tuple[str, ...]) -> Iterator[list[_Word]]:
    part: list[_Word] = []
    for word in words:
        if word.text in operators:
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _bare(words: list[_Word]) -> list[_Word]:
    """A command without what may stand before it: keywords, settings, sudo."""
    while words:
        text = words[0].text
        if text in _BEFORE or _ASSIGNMENT.match(text):
            after_sudo = text == "sudo"
            words = words[1:]
            while after_sudo and words and _BEFORE_OPTION.fullmatch(words[0].text):
                words = words[1:]
        else:
            break
    return words


def _is_spoken(stage: list[_Word]) -> bool:
    return stage[0].text in _SPEAKERS


def _spoken(stage: list[_Word]) -> list[tuple[_Word, bool]]:
    """What ``echo`` or ``printf`` writes."""
    if not _is_spoken(stage):
        return []
    rest = stage[1:]
    while rest and rest[0].text in ("-e", "-n", "-ne", "-en", "-E", "--"):
        rest = rest[1:]
    if stage[0].text == "printf":
        shown = rest[1:] if rest and "%" in rest[0].text and len(rest) > 1 else rest
        return [(word, True) for word in shown]
    return [(_Word(" ".join(word.text for word in rest), rest[0].line), True)] if rest else []
