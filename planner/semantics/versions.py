"""What differs between the QEMU generations, as data.

Rules of this module: no behaviour is decided by comparing version numbers anywhere else; code asks
a profile.  The three profiles were read from real Debian builds (7.2.22, 10.0.13, 11.1.3).
"""

from __future__ import annotations

import functools
import gzip
import json
from importlib import resources
from typing import cast

from attrs import evolve, frozen

from planner.errors import BadInput
from planner.semantics.quirks import Quirk
from planner.semantics.schema import QmpSchema

__all__ = ["PROFILES", "Profile", "profile_of", "schema_of"]

_ALWAYS = frozenset(
    {
        Quirk.TAG_CHECK_NEEDS_ALL,
        Quirk.CLEANUP_DELETES_FIRST_MATCH,
        Quirk.TAG_TRUNCATED,
        Quirk.REVERT_ID_BEFORE_NAME,
        Quirk.DATA_FILE_PASSES_CHECK,
        Quirk.FAILED_LOAD_STAYS_RESTORE_VM,
        Quirk.DELETE_ONE_PER_CALL,
        Quirk.DELETE_WHILE_INACTIVE_ABORTS,
        Quirk.VMSTATE_INTO_ENCRYPTED_ABORTS,
    }
)
_ONLY_7 = frozenset(
    {
        Quirk.BACKGROUND_RESUMES_BY_ITSELF,
        Quirk.BACKGROUND_FAILURE_FREEZES,
        Quirk.CANCEL_WHILE_PAUSED_IS_POSTMIGRATE,
        Quirk.COMMIT_FAILURE_LEAVES_BASE_WRITABLE,
        Quirk.COMMIT_BITMAP_STOPS_LOAD,
        Quirk.MULTIFD_JOB_CRASHES,
    }
)
_SINCE_10 = frozenset({Quirk.LOAD_THROUGH_THROTTLE_ABORTS, Quirk.LOAD_MINDS_MIGRATION_ERROR})


@frozen(cache_hash=True)
class Profile:
    """One QEMU generation.

    Attributes:
        name: How requests and options call it: "7.2", "10.0", "11.1".
        version: (major, minor, micro), as `query-version` says it.
        package: The distribution's part of the version.
        machine: The machine type that `-machine pc` gives.
        quirks: What of `quirks.Quirk` this QEMU does.
        has_active: `active` in replies and `blockdev-set-active` (fact 29).
        has_singlestep: `singlestep` in `query-status`.
        has_children: `children` and `limits` in a node's reply.
        has_file_uri: `migrate` knows ``file:`` (fact 31).
        fd_uri_takes_files: ``fd:`` may be a regular file (fact 31).
        checks_uri_first: `migrate` refuses an unknown protocol before it begins.
        device_status: A migration always shows the status `device`.
        failing_status: A migration shows `failing` before `failed`.
        json_error_position: JSON parse errors begin with line and column.
        resize_says_why: A disk that cannot be resized is named with what uses it.
        filters_follow: A filter shows the size that the image under it was given.
        filters_refresh: It does once an overlay was put on it.
        grouped_text: How a transaction refuses `grouped`.
        grouped_checked_first: `grouped` is refused before any action is looked at; else at the turn of
            one that does not take it, and `abort` takes it.
        downtime_text: How a too long downtime is refused.
        inactivate_text: `error-desc` of a migration whose nodes a block job keeps active.
        load_error_text: A load's error where an earlier migration has failed.
        mismatch_text: A load's error where the save had other capabilities.
        no_stream_text: A load's error where the snapshot's machine state is not there any more.
        vmstate_size_bytes: Size of the machine state of a small VM.
    """

    name: str
    version: tuple[int, int, int]
    package: str
    machine: str
    quirks: frozenset[Quirk]
    has_active: bool = True
    has_singlestep: bool = False
    has_children: bool = False
    has_file_uri: bool = True
    fd_uri_takes_files: bool = True
    checks_uri_first: bool = True
    device_status: bool = True
    failing_status: bool = False
    json_error_position: bool = False
    resize_says_why: bool = True
    filters_follow: bool = False
    filters_refresh: bool = True
    grouped_text: str = "transaction"
    grouped_checked_first: bool = True
    downtime_text: str = (
        "Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms"
    )
    inactivate_text: str = "Error in migration completion: Bad address"
    load_error_text: str = "Error -22 while loading VM state"
    mismatch_text: str = "Error -22 while loading VM state"
    no_stream_text: str = "Error -22 while loading VM state"
    vmstate_size_bytes: int = 800_527

    def has(self, quirk: Quirk) -> bool:
        """Whether this QEMU does that."""
        return quirk in self.quirks

    def without(self, *quirks: Quirk) -> Profile:
        """The same QEMU with these quirks mended: for asking what depends on them."""
        return evolve(self, quirks=self.quirks - frozenset(quirks))


PROFILES: dict[str, Profile] = {
    "7.2": Profile(
        name="7.2",
        version=(7, 2, 22),
        package="Debian 1:7.2+dfsg-7+deb12u18+b3",
        machine="pc-i440fx-7.2-machine",
        quirks=_ALWAYS | _ONLY_7,
        has_active=False,
        has_singlestep=True,
        has_file_uri=False,
        checks_uri_first=False,
        device_status=False,
        resize_says_why=False,
        filters_refresh=False,
        grouped_text="Transaction",
        grouped_checked_first=False,
        inactivate_text="",
        vmstate_size_bytes=792_039,
    ),
    "10.0": Profile(
        name="10.0",
        version=(10, 0, 13),
        package="Debian 1:10.0.13+ds-0+deb13u1",
        machine="pc-i440fx-10.0-machine",
        quirks=_ALWAYS | _SINCE_10 | {Quirk.MULTIFD_JOB_CRASHES, Quirk.MAPPED_RAM_SAVE_FAILS},
    ),
    "11.1": Profile(
        name="11.1",
        version=(11, 1, 3),
        package="Debian 1:11.1.3+ds-1",
        machine="pc-i440fx-11.1-machine",
        quirks=_ALWAYS | _SINCE_10,
        has_children=True,
        fd_uri_takes_files=False,
        filters_follow=True,
        failing_status=True,
        json_error_position=True,
        downtime_text="Option downtime-limit expects an integer in the range of 0 to (2000 * 1000) ms",
        inactivate_text="Block inactivate failed during switchover",
        load_error_text="Error while loading vmstate",
        mismatch_text="post load hook failed for: configuration, version_id: 1, minimum_version: 0: "
        "Failed to validate capabilities",
        no_stream_text="Not a migration stream, magic: 0 != 5145564d",
        vmstate_size_bytes=768_973,
    ),
}


def profile_of(name: str) -> Profile:
    """The profile of a QEMU version.

    Args:
        name: "7.2", "10.0" or "11.1"; a longer version ("10.0.3") means the newest profile that is
            not newer than it, so that recorded facts of any QEMU can be simulated.

    Raises:
        BadInput: It is no version, or older than every profile.
    """
    if name in PROFILES:
        return PROFILES[name]
    try:
        wanted = tuple(int(part) for part in name.split("."))
    except ValueError as error:
        raise BadInput(f"{name!r} is no QEMU version; known: {', '.join(PROFILES)}") from error
    usable = [profile for profile in PROFILES.values() if profile.version[:2] <= wanted[:2]]
    if not usable:
        raise BadInput(f"QEMU {name} is older than what is modelled: {', '.join(PROFILES)}")
    return usable[-1]


@functools.cache
def schema_of(name: str) -> QmpSchema:
    """The QMP schema of a profile, as `query-qmp-schema` gives it.

    It is package data, read once: as much input and output as an import is.
    """
    data = resources.files(__package__).joinpath("data", f"qapi-{name}.json.gz").read_bytes()
    return QmpSchema(cast("list[dict[str, object]]", json.loads(gzip.decompress(data))))
