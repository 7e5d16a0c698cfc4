"""Migration capabilities, parameters and named descriptors.

Capabilities are names that are on; which names exist comes from the version's schema.  Parameters
that nobody set have QEMU's defaults, read from the real ones; who wants to put one back finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.result import CommandResult, generic
from planner.semantics.state import VmState
from planner.semantics.versions import schema_of

__all__ = [
    "capability_names",
    "query_capabilities",
    "query_migrate",
    "query_parameters",
    "set_capabilities",
    "set_parameters",
]

_BACKGROUND_EXCLUDES = (
    "postcopy-ram",
    "dirty-bitmaps",
    "postcopy-blocktime",
    "late-block-activate",
    "return-path",
    "multifd",
    "pause-before-switchover",
    "auto-converge",
    "release-ram",
    "rdma-pin-all",
    "xbzrle",
    "x-colo",
    "validate-uuid",
)
_DEFAULTS: dict[str, object] = {
    "announce-initial": 50,
    "announce-max": 550,
    "announce-rounds": 5,
    "announce-step": 100,
    "cpu-throttle-increment": 10,
    "cpu-throttle-initial": 20,
    "cpu-throttle-tailslow": False,
    "downtime-limit": 300,
    "max-bandwidth": 134217728,
    "max-cpu-throttle": 99,
    "max-postcopy-bandwidth": 0,
    "multifd-channels": 2,
    "multifd-compression": "none",
    "multifd-zlib-level": 1,
    "multifd-zstd-level": 1,
    "throttle-trigger-threshold": 50,
    "tls-authz": "",
    "tls-creds": "",
    "tls-hostname": "",
    "x-checkpoint-delay": 20_000,
    "xbzrle-cache-size": 67108864,
}
_SINCE_10: dict[str, object] = {
    "avail-switchover-bandwidth": 0,
    "direct-io": False,
    "mode": "normal",
    "multifd-qatzip-level": 1,
    "vcpu-dirty-limit": 1,
    "x-vcpu-dirty-limit-period": 1000,
    "zero-page-detection": "multifd",
}
_MORE_DEFAULTS: dict[str, dict[str, object]] = {
    "7.2": {
        "block-incremental": False,
        "compress-level": 1,
        "compress-threads": 8,
        "compress-wait-thread": True,
        "decompress-threads": 2,
    },
    "10.0": _SINCE_10,
    "11.1": {**_SINCE_10, "cpr-exec-command": [], "x-rdma-chunk-size": 1_048_576},
}
_LONGEST_DOWNTIME_MS = 2_000_000
_RAM_BYTES = 17_309_696
_PAGES = 4_226


def capability_names(version: str) -> tuple[str, ...]:
    """The capabilities that the QEMU of a profile's name knows, in its order."""
    schema = schema_of(version)
    arguments = schema.commands["migrate-set-capabilities"]["arg-type"]
    by_name = {entry["name"]: entry for entry in schema.entries}
    item = by_name[by_name[arguments]["members"][0]["type"]]["element-type"]
    kind = next(m["type"] for m in by_name[item]["members"] if m["name"] == "capability")
    return tuple(by_name[kind]["values"])


def set_capabilities(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `migrate-set-capabilities`: all of it or nothing."""
    if state.migration.under_way:
        return CommandResult(state, error=generic("There's a migration process in progress"))
    wanted = set(state.capabilities)
    for change in cast("list[dict[str, Any]]", arguments["capabilities"]):
        (wanted.add if change["state"] else wanted.discard)(change["capability"])
    if "background-snapshot" in wanted:
        for other in _BACKGROUND_EXCLUDES:
            if other in wanted:
                text = f"Background-snapshot is not compatible with {other}"
                return CommandResult(state, error=generic(text))
    return CommandResult(evolve(state, capabilities=frozenset(wanted)), {})


def query_capabilities(state: VmState) -> list[dict[str, object]]:
    """The command `query-migrate-capabilities`."""
    return [
        {"state": name in state.capabilities, "capability": name}
        for name in capability_names(state.profile.name)
    ]


def set_parameters(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `migrate-set-parameters`."""
    downtime_ms = cast("int", arguments.get("downtime-limit", 0))
    if not 0 <= downtime_ms <= _LONGEST_DOWNTIME_MS:
        return CommandResult(state, error=generic(state.profile.downtime_text))
    simple = {k: v for k, v in arguments.items() if isinstance(v, str | int | bool)}
    merged = {**dict(state.parameters), **simple}
    return CommandResult(evolve(state, parameters=tuple(sorted(merged.items()))), {})


def query_parameters(state: VmState) -> dict[str, object]:
    """The command `query-migrate-parameters`."""
    defaults = {**_DEFAULTS, **_MORE_DEFAULTS[state.profile.name]}
    return {**defaults, **dict(state.parameters)}


def query_migrate(state: VmState) -> dict[str, object]:
    """The command `query-migrate`."""
    migration = state.migration
    blocked = list(state.machine.blocked_reasons)
    reply: dict[str, object] = {"blocked-reasons": blocked} if blocked else {}
    if not migration.status:
        return reply
    reply["status"] = migration.status
    if migration.error:
        reply["error-desc"] = migration.error
    if migration.status in {"active", "pre-switchover", "device", "completed"}:
        reply |= {"setup-time": 1, "total-time": 6, "ram": _ram(state)}
    if migration.status == "completed":
        reply["downtime"] = 2
    elif "ram" in reply:
        reply["expected-downtime"] = 300
    return reply


def _ram(state: VmState) -> dict[str, object]:
    # pages are counted only once tracking is on: the one sign there is of it (fact 39)
    waits = state.migration.background and not state.migration.tracking
    begun = not waits or state.migration.status == "completed"
    return {
        "total": _RAM_BYTES,
        "transferred": 517_241 if begun else 0,
        "remaining": 0 if begun else _RAM_BYTES,
        "duplicate": _PAGES - 117 if begun else 0,
        "normal": 117 if begun else 0,
        "normal-bytes": 117 * 4096 if begun else 0,
        "page-size": 4096,
        "dirty-pages-rate": 0,
        "dirty-sync-count": 1,
        "dirty-sync-missed-zero-copy": 0,
        "downtime-bytes": 0,
        "mbps": 0,
        "multifd-bytes": 0,
        "pages-per-second": 0,
        "postcopy-bytes": 0,
        "postcopy-requests": 0,
        "precopy-bytes": 0,
    }
