"""The command line: what the installed command `snapplan` and ``python -m snapplan`` run."""

from __future__ import annotations

from planner.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
