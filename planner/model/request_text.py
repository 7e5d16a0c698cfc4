"""What a request may be, said once: for its file, for an object of a program, and as a JSON schema.

The reader never stops early: what it cannot read becomes `Unreadable`, so that the compiler can go
on and find what else is wrong; `planner.compile.resolve` refuses any request that has a problem.
`specs/schemas/request.schema.json` is `request_schema`, which a test holds there.
"""

from __future__ import annotations

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.description import DESCRIPTION_LIMIT_BYTES, description_problems
from planner.model.request import (
    Capture,
    Copy,
    CopyFormat,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    FreezeFilesystems,
    ImageMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    Pause,
    Request,
    RunStateAfter,
    ServedBy,
    Unreadable,
)
from planner.model.shape import (
    Key,
    Reading,
    choice,
    flag,
    named,
    one_of,
    record,
    said,
    text,
    whole,
)
from planner.model.tag import TAG_LIMIT_BYTES, tag_problems
from planner.model.text import Document, read_text

__all__ = [
    "ReadRequest",
    "check_request",
    "read_request",
    "request_from_plain",
    "request_schema",
    "request_to_plain",
]

_PATH_LIMIT_BYTES = 4095


def _is_path(text: str) -> bool:
    # A path is bytes to the kernel: one that cannot be encoded, or holds NUL, is none.
    try:
        return "\0" not in text and len(text.encode()) <= _PATH_LIMIT_BYTES
    except UnicodeEncodeError:
        return False


_NAME = text(str.isprintable, code="disk-name-malformed")
_PATH = text(_is_path, code="path-malformed", maxLength=_PATH_LIMIT_BYTES)
_MEMBER = text(str.isprintable, code="member-name-malformed", maxLength=TAG_LIMIT_BYTES)
_BANDWIDTH = "Most bytes a second that QEMU may write; left out: no limit."
_DOWNTIME = "Milliseconds that a live capture may stand still to write its rest."
_GIVE_UP = "Seconds after which an unfinished stream is given up and undone."
_CONVERGE = "Slow a guest down that writes memory faster than it is saved."
_NO_CAPTURE = "external machine state does not say how it is captured"
_CAPTURES = "write `capture: stopped`, `live` or `background`"

_STREAM = record(
    ExternalMachineState,
    Key("external", _PATH, attribute="path"),
    Key("capture", choice(Capture), "Which instant it is.", (_NO_CAPTURE, _CAPTURES)),
    Key("max-bandwidth", whole(2**62), _BANDWIDTH, seldom=True),
    Key("downtime-limit", whole(2_000_000), _DOWNTIME, seldom=True),
    Key("give-up-after", whole(7 * 24 * 3600), _GIVE_UP, seldom=True),
    Key("auto-converge", flag(), _CONVERGE, seldom=True),
)
_IN_AN_IMAGE = record(InternalMachineState, Key("internal", _NAME, attribute="disk"))
_IMAGE_OF_ITS_OWN = record(ImageMachineState, Key("image", _PATH, attribute="path"))
_MACHINE_STATE = one_of(
    {"none": NoMachineState},
    {"internal": _IN_AN_IMAGE, "image": _IMAGE_OF_ITS_OWN, "external": _STREAM},
    "`none`, `{internal: DISK}`, `{image: PATH}` or `{external: PATH, …}`",
    Unreadable(),
)
_WISH = one_of(
    {"internal": Internal, "exclude": Exclude},
    {
        "external": record(External, Key("external", _PATH, attribute="path")),
        "copy": record(
            Copy,
            Key("copy", _PATH, attribute="path"),
            Key("format", choice(CopyFormat), "What kind of image the copy is.", seldom=True),
        ),
        "served-by": record(ServedBy, Key("served-by", _MEMBER, attribute="member")),
    },
    "`internal`, `exclude`, `{external: PATH}`, `{copy: PATH, …}` or `{served-by: MEMBER}`",
    Unreadable(),
)
_NO_AGENT = "nothing says where the agent is", "write `agent: ` and the path of the agent's socket"
_AT_MOST = "Seconds for which they may be frozen; then all is undone."
_FREEZE = record(
    FreezeFilesystems,
    Key("agent", _PATH, "The unix socket of the agent's channel.", _NO_AGENT, instead=""),
    Key("at-most", whole(600), _AT_MOST, attribute="at_most_s"),
    expected="`{agent: SOCKET, at-most: SECONDS}`",
)
_TAG = said(
    tag_problems, minLength=1, maxLength=TAG_LIMIT_BYTES, **{"not": {"pattern": "^[0-9]+$"}}
)
_TAGS = "The snapshot's name: 1 to 255 bytes of UTF-8, printable, not digits alone."
_SHOWN = "^[^\\u0000-\\u0009\\u000b-\\u001f\\u007f]*$"
_DESCRIPTION = said(description_problems, maxLength=DESCRIPTION_LIMIT_BYTES, pattern=_SHOWN)
_SAYS = "What its user says of it: at most 4096 bytes of UTF-8, printable, with line breaks."
_NO_STATE = "the request does not say where the machine state goes"
_STATES = (
    "write `none`, `{internal: DISK}`, `{image: PATH}` or `{external: PATH, capture: stopped}`"
)
_NO_DISKS = "the request names no disks", "write `disks: {}` at least"
_DISKS = named(_NAME, _WISH, "a mapping of disk names to wishes")
_FREEZES = "Have the guest agent freeze the guest's file systems around the capture; disks only."
_UNFROZEN = FreezeFilesystems("")
_STANDS = "Whether a running guest stands while its disks alone are captured; in a group it must."

_KEYS = (
    Key("tag", _TAG, _TAGS, ("the request has no tag", "name the snapshot"), instead=""),
    Key("description", _DESCRIPTION, _SAYS, seldom=True),
    Key("machine-state", _MACHINE_STATE, "", (_NO_STATE, _STATES), instead=Unreadable()),
    Key("disks", _DISKS, "By node name, -drive id or qdev id.", _NO_DISKS, instead=()),
    Key("others", choice(Others)),
    Key("existing-tag", choice(ExistingTag)),
    Key("run-state-after", choice(RunStateAfter)),
    Key("pause", choice(Pause), _STANDS, seldom=True),
    Key(
        "freeze-filesystems", _FREEZE, _FREEZES, attribute="freeze", instead=_UNFROZEN, seldom=True
    ),
)
_REQUEST = record(Request, *_KEYS)


@frozen
class ReadRequest:
    """A request as read, with what is wrong with it.

    Attributes:
        request: Complete where there are no problems; else with `Unreadable` in the gaps.
        problems: Everything that is wrong with the file itself.
    """

    request: Request
    problems: tuple[Problem, ...] = ()


def read_request(text: str, source: str = "request") -> ReadRequest:
    """Read a request file's text.

    Args:
        text: YAML or JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: The text is neither YAML nor JSON.
    """
    return request_from_plain(read_text(text, source))


def request_from_plain(document: Document) -> ReadRequest:
    """Check plain values into a `Request`; see `read_request`."""
    reading, top = Reading(document), document.value
    request = Request("", Unreadable(), ())
    if isinstance(top, dict):
        found = _REQUEST.read(top, (), reading)
        request = evolve(found, given=frozenset(key.name for key in _KEYS if key.name in top))
    else:
        reading.report("request-shape", (), "the request is no mapping of keys to values")
    return ReadRequest(request, (*document.problems, *reading.problems))


def check_request(request: Request) -> ReadRequest:
    """Check a request that was made as an object exactly as one from a file is checked."""
    names = [name for name, _ in request.disks]
    twice = sorted({name for name in names if names.count(name) > 1}, key=str)
    problems = tuple(
        Problem("key-twice", f"disks.{name}", "the disk is named twice") for name in twice
    )
    read = request_from_plain(Document(request_to_plain(request)))
    return ReadRequest(read.request, (*problems, *read.problems))


def request_to_plain(request: Request) -> dict[str, object]:
    """Write a request as the plain values of its file, every default spelled out."""
    plain = _REQUEST.write(request)
    return plain if isinstance(plain, dict) else {}


def request_schema() -> dict[str, object]:
    """The JSON schema of a request, as `specs/schemas/request.schema.json` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:snapplan:schema:request:1",
        "title": "snapplan request",
        "description": "One system snapshot, as asked for. YAML or JSON.",
        **_REQUEST.schema,
    }
