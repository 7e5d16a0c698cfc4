"""The conformance suite for backends: ``python -m snapplan.conformance.backend [NAME:]ADDRESS``.

Connects by the backend's entry point, as the command line does, and runs every check of
`snapplan.conformance.checks` on a VM that nobody needs: its guest is stopped and continued.

Exit codes: 0 all promises are kept; 30 one is broken; 2 and 12 as the command line's.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from planner.errors import CannotConnect, SnapplanError, Violation
from planner.library.conformance.checks import CHECKS, Check
from planner.run.ports import Backend
from planner.store.finding import Connect, find_backend

__all__ = ["check_backend", "main"]

_CHECK_S = 120.0
_USAGE = "usage: python -m snapplan.conformance.backend [NAME:]ADDRESS"


async def check_backend(backend: Backend, checks: Sequence[Check] = CHECKS) -> dict[str, str]:
    """Run the checks on a connected backend; what each found, by its name; empty: it is kept.

    A check that breaks the connection leaves the later ones without one, and they say so.
    """
    found = {}
    for check in checks:
        try:
            async with asyncio.timeout(_CHECK_S):
                await check(backend)
        except TimeoutError:
            found[check.__name__] = f"it did not end within {_CHECK_S:g} s"
        except Exception as error:  # noqa: BLE001 - a backend may raise anything; that is the finding
            found[check.__name__] = str(error) or type(error).__name__
            if not isinstance(error, AssertionError):
                found[check.__name__] = f"{type(error).__name__}: {error}"
        else:
            found[check.__name__] = ""
    return found


async def _check(connect: Connect, address: str) -> dict[str, str]:
    backend = await connect(address)
    try:
        return await check_backend(backend)
    finally:
        await backend.close()


async def _nobody(connect: Connect, address: str) -> str:
    """What is wrong with how the backend says that nobody is there; empty: nothing."""
    try:
        backend = await connect(address)
    except CannotConnect:
        return ""
    except SnapplanError as error:
        return "" if error.exit_code == 2 else f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - that is the finding
        return f"{type(error).__name__} in place of CannotConnect: {error}"
    await backend.close()
    return "it connects to an address where nobody is"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if len(given) != 1 or given[0].startswith("-"):
        print(_USAGE, file=sys.stderr)
        return 0 if given in (["-h"], ["--help"]) else 2
    try:
        connect, address = find_backend(given[0])
        found = asyncio.run(_check(connect, address))
        found["nobody_is_an_error"] = asyncio.run(_nobody(connect, "/snapplan/nobody/is/here.sock"))
    except SnapplanError as error:
        print(f"snapplan: {error}", file=sys.stderr)
        return error.exit_code
    for name, wrong in found.items():
        print(f"broken  {name}: {wrong}" if wrong else f"kept    {name}")
    broken = sum(bool(wrong) for wrong in found.values())
    print(f"{len(found) - broken} kept, {broken} broken")
    return Violation.exit_code if broken else 0


if __name__ == "__main__":
    sys.exit(main())
