"""What a storage daemon is, beside a QEMU: the same block layer, exports for devices, and no machine.

Facts 120 to 122.  It is a `VmState` whose machine is a daemon; its block backends are its exports, each
called by the export's id.
"""

from __future__ import annotations

from planner.semantics.state import VmState

__all__ = ["lacks", "query_block_exports"]

_LACKING = frozenset(
    {
        *("query-status", "query-name", "query-uuid", "query-target", "query-kvm", "query-pci"),
        *("query-cpus-fast", "query-machines", "query-tpm", "query-fdsets"),
        *("query-migrate", "query-migrate-capabilities", "query-migrate-parameters"),
        *("stop", "cont", "system_reset", "device_add", "device_del", "human-monitor-command"),
        *("snapshot-save", "snapshot-load", "snapshot-delete"),
        *("migrate", "migrate_cancel", "migrate-continue"),
        *("migrate-set-capabilities", "migrate-set-parameters"),
        *("getfd", "closefd", "add-fd", "remove-fd"),
    }
)
"""Of the commands that are modelled, those that it does not have."""


def lacks(state: VmState, name: str) -> bool:
    """Whether it is a daemon, and has no such command."""
    return state.machine.daemon and name in _LACKING


def query_block_exports(state: VmState) -> object:
    """The command `query-block-exports`, newest first; a VM is modelled without any."""
    if not state.machine.daemon:
        return []
    return [
        {"node-name": device.node, "shutting-down": False, "type": "nbd", "id": device.qdev}
        for device in reversed(state.devices)
    ]
