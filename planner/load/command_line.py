"""QEMU's command line from a template of the user's: words with places for files, never a shell line.

The template is split into words as a shell would (quotes and all), and nothing else of a shell is in it.
Places: ``{disk:NAME}`` a disk's image, ``{format:NAME}`` its format, ``{qmp}`` the QMP socket; and where
several VMs of one snapshot run side by side, what tells them apart: ``{clone}`` a number, ``{uuid}``,
``{mac}``.  What is put there is written as the word wants it: a JSON word gets JSON, a word with options
gets its commas doubled, as QEMU's option parser wants them, and a word that is nothing but the place
gets it as it is.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, frozen

from planner.errors import BadInput, Problem
from planner.parts.accepting import Accepted

__all__ = ["OwnNames", "accepting_names", "fill_template", "names_from"]

_Place = Callable[[re.Match[str]], str]
_FORMAT = re.compile(r"""(^|[,."])(format|driver)("\s*:|=)""")
_PLACE = re.compile(r"\{(?:(disk|format):([^{}]+)|(qmp|clone|uuid|mac))\}")
_QCOW2 = "qcow2"
_LOCAL = 0x02
_GROUP = 0x01


@frozen
class OwnNames:
    """What tells a VM from others that go on from the same snapshot.

    Attributes:
        number: Which restore of the snapshot it is.
        uuid: A UUID of its own.
        mac: A locally administered MAC address of its own.
    """

    number: int = 0
    uuid: str = "00000000-0000-4000-8000-000000000000"
    mac: str = "02:00:00:00:00:00"


def names_from(number: int, *seed: str) -> OwnNames:
    """Names that follow from what is unique to a restore: the same seed, the same names.

    Args:
        number: Which restore of its snapshot it is.
        seed: The host, the store, the snapshot, the moment.
    """
    made = hashlib.sha256("\0".join((str(number), *seed)).encode("utf-8", "surrogatepass")).digest()
    first = (made[16] | _LOCAL) & ~_GROUP
    digits = f"{made[:6].hex()}4{made[6:8].hex()[1:]}{'89ab'[made[8] & 3]}{made[8:16].hex()[1:]}"
    at = (0, 8, 12, 16, 20, 32)
    uuid = "-".join(digits[begin:end] for begin, end in itertools.pairwise(at))
    return OwnNames(number, uuid, bytes((first, *made[17:22])).hex(":"))


def accepting_names(line: str | Sequence[str], accepted: Accepted) -> Accepted:
    """What may differ of a VM that is started by a line: its names, where the line says other ones."""
    words = line if isinstance(line, str) else " ".join(line)
    return evolve(accepted, renamed=accepted.renamed or "{uuid}" in words or "{clone}" in words)


def fill_template(
    template: str | Sequence[str],
    disks: Mapping[str, tuple[str, str]],
    qmp: str,
    own: OwnNames = OwnNames(),
) -> tuple[str, ...]:
    """The words of a command line.

    Args:
        template: As a user writes it, in a line or as words.
        disks: Image and format of each disk that is restored, by name.
        qmp: Path of the QMP socket.
        own: What tells it from other VMs of the same snapshot.

    Raises:
        BadInput: It cannot be split, names an unknown disk, leaves one or the socket out, or has QEMU
            guess a format from what the guest wrote (``template-probes``).  A qcow2 image's cannot be
            guessed wrong, since its first bytes are not the guest's.
    """
    try:
        words = shlex.split(template) if isinstance(template, str) else list(template)
    except ValueError as error:
        raise _bad("template-malformed", f"it cannot be split into words: {error}") from error
    if not words:
        raise _bad("template-malformed", "it is empty")
    used: set[str] = set()
    plainly = {"qmp": qmp, "clone": str(own.number), "uuid": own.uuid, "mac": own.mac}

    def place(found: re.Match[str]) -> str:
        kind, name, plain = found.groups()
        if plain:
            used.add(plain)
            return plainly[plain]
        if name not in disks:
            known = ", ".join(sorted(disks)) or "none"
            raise _bad("template-malformed", f"no disk {name!r} is restored (there are: {known})")
        used.add(f"{kind}:{name}")
        return disks[name][kind == "format"]

    filled = tuple(_fill(word, place) for word in words)
    missing = [f"{{disk:{name}}}" for name in sorted(disks) if f"disk:{name}" not in used]
    if "qmp" not in used:
        missing.append("{qmp}")
    if missing:
        raise _bad("template-incomplete", f"it lacks {', '.join(missing)}")
    guest_s = (name for name, (_, image_format) in sorted(disks.items()) if image_format != _QCOW2)
    probed = [name for name in guest_s if _probes(name, words)]
    if probed:
        named = ", ".join(f"{{disk:{name}}}" for name in probed)
        why = f"it says no format for {named}, and QEMU would guess one from what the guest wrote"
        raise _bad("template-probes", why, "add {format:NAME}: format={format:NAME} to a -drive")
    return filled


def _probes(name: str, words: Sequence[str]) -> bool:
    """Whether a disk is given to QEMU without its format; `-blockdev` always says a driver."""
    if any(f"{{format:{name}}}" in word for word in words):
        return False
    holding = [word for word in words if f"{{disk:{name}}}" in word]
    return not all(_FORMAT.search(word) for word in holding)


def _fill(word: str, place: _Place) -> str:
    if _PLACE.fullmatch(word):
        return _PLACE.sub(place, word)
    if word.startswith("{"):
        try:
            value = json.loads(word)
        except ValueError:
            pass
        else:
            return json.dumps(_fill_value(value, place))
    return _PLACE.sub(lambda found: place(found).replace(",", ",,"), word)


def _fill_value(value: object, place: _Place) -> object:
    if isinstance(value, str):
        return _PLACE.sub(place, value)
    if isinstance(value, dict):
        return {key: _fill_value(each, place) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill_value(each, place) for each in value]
    return value


def _bad(code: str, why: str, remedy: str = "see `snapplan load --help`") -> BadInput:
    problem = Problem(code, "--run", why, remedy)
    return BadInput.of(problem)
