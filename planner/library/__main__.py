"""The command line: what the installed command `snapplan` and ``python -m snapplan`` run."""

from __future__ import annotations

from planner.cli.startup import hold_back_interrupt

__all__ = ["main"]


def main() -> None:
    """Run the command line; never returns."""
    hold_back_interrupt()
    from planner.cli.main import main as command_line  # noqa: PLC0415 - Ctrl-C meanwhile waits

    command_line()


if __name__ == "__main__":
    main()
