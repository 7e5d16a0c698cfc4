"""A simulated QEMU behind QMP sockets.

Rules: one client at a time per socket, as with QEMU's ``-qmp``: the next one waits in the backlog
until the first is gone, and the VM lives on between them.  Several sockets lead to one VM; events go
to all of them.  A socket file has mode 0600 and is gone when the simulator is closed.  When QEMU
dies, its connections break and later ones are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import stat
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import evolve

from backends.simulator.faults import FaultRule
from backends.simulator.json_stream import TOKEN_LIMIT_BYTES
from backends.simulator.session import Session
from backends.simulator.vm import Message, SimulatedVm
from planner.errors import BadInput
from planner.semantics import VmState

__all__ = ["Simulator"]

_IDLE_S = 0.002
_BACKLOG = 8
_PATIENCE = 2000


class Simulator:
    """Serves one simulated VM; an asynchronous context manager.

    Attributes:
        vm: The VM; its `state` may be read at any time.
        died: Set when QEMU is gone.

    Args:
        state: The VM to begin with.
        faults: Fault rules.
        seed: Decides everything that QEMU leaves open.
        guest: Whether the guest works while it runs.
        modelled_only: `query-commands` lists what is modelled, and leaves the rest out.
        log: Given each command that was received, with its answer: see `backends.simulator.log`.
        limit_bytes: Longest input for one command; more is refused.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        state: VmState,
        *,
        faults: Iterable[FaultRule] = (),
        seed: int = 0,
        guest: bool = True,
        modelled_only: bool = False,
        log: Callable[[Message], None] | None = None,
        limit_bytes: int = TOKEN_LIMIT_BYTES,
    ) -> None:
        self.vm = SimulatedVm(
            state, faults=faults, seed=seed, guest=guest, modelled_only=modelled_only
        )
        self.log = log or (lambda _entry: None)
        self.died = asyncio.Event()
        self._limit_bytes = limit_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._sessions: set[Session] = set()
        self._listeners: list[tuple[socket.socket, Path | None]] = []
        self._numbers = itertools.count(1)
        self._closing = False

    async def __aenter__(self) -> Self:
        self._spawn(self._idle())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- listening -------------------------------------------------------------------------

    def listen(self, path: str | Path) -> Path:
        """Serve the VM on a unix socket, made with mode 0600.

        Raises:
            BadInput: It cannot be made there.  A socket that nobody listens on any more is replaced,
                any other file is left alone.
        """
        place = Path(path)
        _remove_stale(place)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                listener.bind(str(place))
            finally:
                os.umask(before)
            self._start(listener, place)
        except OSError as error:
            listener.close()
            raise BadInput(f"cannot listen on {place}: {error}") from error
        return place

    def listen_tcp(self, host: str = "127.0.0.1", port: int = 0) -> tuple[str, int]:
        """Serve the VM on a TCP port; 0 takes a free one.

        Returns:
            The address that clients connect to.

        Raises:
            BadInput: The address cannot be used.
        """
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            self._start(listener, None)
        except OSError as error:
            listener.close()
            raise BadInput(f"cannot listen on {host}:{port}: {error}") from error
        bound: tuple[str, int] = listener.getsockname()
        return bound

    def _start(self, listener: socket.socket, place: Path | None) -> None:
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._listeners.append((listener, place))
        self._spawn(self._accept_forever(listener))

    async def _accept_forever(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while not self.vm.dead and not self._closing:
            connected, _ = await loop.sock_accept(listener)
            session = Session(
                self, name=f"session-{next(self._numbers)}", limit_bytes=self._limit_bytes
            )
            self._sessions.add(session)
            try:
                await session.serve(connected)
            except OSError:
                connected.close()
            finally:
                self._sessions.discard(session)

    # --- what sessions ask of their host ------------------------------------------------------

    def publish(self, messages: tuple[Message, ...], *, but: Session | None = None) -> None:
        """Send events to every session but one."""
        if not messages:
            return
        for session in self._sessions - {but}:
            session.publish(messages)

    def vm_died(self) -> None:
        """Close everything, as the kernel does for a process that ended."""
        for listener, place in self._listeners:
            listener.close()
            if place is not None and self.vm.state.died == "quit":
                place.unlink(missing_ok=True)  # an orderly end takes its socket along
        for session in self._sessions:
            session.drop()
        self.died.set()

    def kill(self) -> None:
        """Let QEMU die now, as by SIGKILL."""
        self.vm.state = evolve(self.vm.state, died=self.vm.state.died or "killed")
        self.vm_died()

    # --- life -----------------------------------------------------------------------------------

    async def _idle(self) -> None:
        """Let a migration go on, and a stall end, while nobody sends anything."""
        while True:
            await asyncio.sleep(_IDLE_S)
            if self.vm.dead:
                return
            self.publish((*self.vm.background_step(), *self.vm.release()))
            if self.vm.state.died:
                self.vm_died()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End everything in good order; socket files go too."""
        self._closing = True
        for _ in range(_PATIENCE):  # each session ends by itself once its connection is cut
            for session in set(self._sessions):
                session.drop()
            if not self._sessions:
                break
            await asyncio.sleep(0.001)
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener, place in self._listeners:
            listener.close()
            if place is not None:
                with contextlib.suppress(FileNotFoundError):
                    place.unlink()
        self._listeners.clear()


def _remove_stale(place: Path) -> None:
    """Remove a socket file that nobody listens on."""
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInput(f"cannot listen on {place}: {error}") from error
    if not stat.S_ISSOCK(mode):
        raise BadInput(f"{place} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(place))
        except ConnectionRefusedError:
            place.unlink()
            return
    raise BadInput(f"another program already listens on {place}")
