"""What a person types at a terminal: its prompts, its echo, and the words of virsh.

A terminal's copy repeats each line as it grows: what the terminal showed in the end is what was typed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

__all__ = ["HMP_PROMPT", "Virsh", "is_virsh", "shown", "virsh_call", "without_prompts"]

HMP_PROMPT = "(qemu)"
_ESCAPE = re.compile(r"\x1b\[(?P<count>\d*)(?P<what>[A-Za-z])")
_VIRSH = re.compile(r"^(?:sudo\s+(?:-\S+\s+)*)?(?:/\S*/)?virsh\s")
_PROMPT = re.compile(
    r"^\s*(?:[\w.~/:@-]+|\[[^\]]*\])?[#$]\s*(?=(?:sudo|virsh|echo|printf|cat|socat|nc)\s)"
)
_GOES_ON = re.compile(r"^\s*>\s?")
_WITH_VALUE = ("-c", "--connect", "-d", "--debug", "-l", "--log")
_VALUES = ("--domain", "--cmd", "--pass-fds", "--name", "--description", "--diskspec", "--memspec")
_DOMAIN_CALLS = {
    "suspend": "stop", "resume": "cont",
    "domfsfreeze": "guest-fsfreeze-freeze", "domfsthaw": "guest-fsfreeze-thaw",
}  # fmt: skip
_MESSAGES = ("qemu-monitor-command", "qemu-agent-command")


def shown(line: str) -> str:
    """What a terminal shows of a line: cursor moves and deletions done."""
    if "\x1b" not in line and "\b" not in line:
        return line
    cells: list[str] = []
    cursor = place = 0
    while place < len(line):
        match = _ESCAPE.match(line, place)
        if match is not None:
            count = int(match["count"] or 1)
            if match["what"] == "D":
                cursor = max(0, cursor - count)
            elif match["what"] == "C":
                cursor = min(len(cells), cursor + count)
            elif match["what"] == "K":
                del cells[cursor:]
            place = match.end()
            continue
        character = line[place]
        place += 1
        if character == "\b":
            cursor = max(0, cursor - 1)
        elif character != "\x1b":
            cells[cursor : cursor + 1] = [character]
            cursor += 1
    return "".join(cells)


def without_prompts(lines: list[str]) -> list[str]:
    """A terminal's copy without the shell's prompts.

    ``# virsh`` is a call that root typed where no line of the text calls it without a prompt; else it is
    a comment.  Behind a prompt, ``>`` begins a line that goes on.
    """
    if any(is_virsh(line) or line.startswith("#!") for line in lines):
        return lines
    copy, behind = [], False
    for line in lines:
        bare = _PROMPT.sub("", line, count=1)
        goes_on = behind and bare == line and _GOES_ON.match(line) is not None
        copy.append(_GOES_ON.sub("", line, count=1) if goes_on else bare)
        behind = goes_on or bare != line
    return copy


def is_virsh(line: str) -> bool:
    """Whether a line of a shell script calls virsh."""
    return bool(_VIRSH.match(line.strip()))


@frozen
class Virsh:
    """A call of virsh.

    Attributes:
        qmp: A QMP command as JSON; empty: none.
        hmp: A line for the human monitor; empty: none.
        execute: A command without arguments that libvirt sends for it, to QEMU or to the guest agent;
            empty: none.
        libvirt: What libvirt does by itself, as virsh calls it; empty: nothing of that kind.
        domain: Which domain it is about.
    """

    qmp: str = ""
    hmp: str = ""
    execute: str = ""
    libvirt: str = ""
    domain: str = ""


def virsh_call(words: Sequence[str]) -> Virsh:
    """Read a call of virsh.

    Args:
        words: What stands behind ``virsh``, as the shell parts it.

    Raises:
        ValueError: The monitor command is missing.
    """
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in _WITH_VALUE else 1 :]
    if not words:
        return Virsh()
    call, *rest = words
    named, plain = _options(rest)
    domain = named.get("--domain", "") or (plain.pop(0) if plain else "")
    if call in _DOMAIN_CALLS:
        return Virsh(execute=_DOMAIN_CALLS[call], domain=domain)
    if call not in _MESSAGES:
        return Virsh(libvirt=call, domain=domain)
    said = " ".join([*filter(None, [named.get("--cmd")]), *plain])
    if not said:
        raise ValueError("the command for the monitor is missing")
    return Virsh(hmp=said, domain=domain) if "--hmp" in rest else Virsh(qmp=said, domain=domain)


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options that have a value, and the words that are none."""
    named: dict[str, str] = {}
    plain: list[str] = []
    waiting = ""
    for word in words:
        if waiting:
            named[waiting], waiting = word, ""
            continue
        name, is_set, value = word.partition("=")
        if name not in _VALUES:
            plain += [] if word.startswith("--") else [word]
        elif is_set:
            named[name] = value
        else:
            waiting = name
    return named, plain
