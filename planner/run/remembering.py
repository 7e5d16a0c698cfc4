"""A connection that asks once what cannot change as long as a QEMU runs.

The QMP schema alone is some 200 KB of JSON, and a VM is asked for its facts again and again: before its
lock is taken, under the lock, and after somebody was asked something.  What is remembered is what QEMU
fixes at its start (its version, schema, name, UUID, the machine's type and firmware).  Whatever can
be plugged, unplugged, set or saved is asked each time.  A new connection may be to another QEMU, so
it begins with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.program.schema import kept_schema
from planner.run.forwarding import ForwardingBackend
from planner.run.ports import Backend

__all__ = ["RememberingBackend"]

_ALWAYS = ("query-version", "query-name", "query-uuid", "query-target", "query-kvm")
_SCHEMA = "query-qmp-schema"
_MACHINE_PROPERTIES = ("type", "smp", "memory")
_FIXED_PROPERTIES = ("feature-words",)
"""Of a processor: set when it is made."""


class RememberingBackend(ForwardingBackend):
    """A `planner.run.ports.Backend` that remembers what a QEMU is for as long as it runs.

    Args:
        backend: Connected.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._known: dict[tuple[str, str], object] = {}

    async def connect(self, timeout_s: float) -> None:
        """Connect anew, and forget; see `planner.run.ports.Backend.connect`."""
        self._known.clear()
        await self.inner.connect(timeout_s)

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Answer from memory, or ask; see `planner.run.ports.Backend.execute`."""
        key = _lasting(command, arguments)
        if key is None:
            return await self.inner.execute(command, arguments, timeout_s)
        if key not in self._known:
            answer = await self.inner.execute(command, arguments, timeout_s)
            self._known[key] = _usable(answer) if command == _SCHEMA else answer
        return self._known[key]


def _lasting(command: str, arguments: Mapping[str, object]) -> tuple[str, str] | None:
    """What an answer is remembered under; None: it may be another one the next time."""
    if command == "qom-get":
        path, name = str(arguments.get("path")), str(arguments.get("property"))
        fixed = path == "/machine" and name in _MACHINE_PROPERTIES
        return (path, name) if fixed or name in _FIXED_PROPERTIES else None
    return (command, "") if command in (*_ALWAYS, _SCHEMA) and not arguments else None


def _usable(answer: object) -> object:
    """The part of a schema that snapplan looks at; what is no schema stays as it is."""
    try:
        return kept_schema(answer)
    except ValueError:
        return answer
