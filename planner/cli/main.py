"""`snapplan`: finds the command, and turns how it ends into an exit code.

Start-up is part of the contract: a command's module is imported when that command runs, and ``--help``
imports click and nothing else, so the short texts of the commands stand here.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
from contextlib import AbstractContextManager, nullcontext

import click

from planner.cli import streams, waiting_line
from planner.cli.guarded import use_utf8
from planner.cli.startup import interrupt_held_back
from planner.present.tables import wrapped_at

__all__ = ["cli", "main"]

_COMMANDS = {
    "inspect": "Show a VM's disks, what each can do, and why.",
    "plan": "Compile a request into a proved plan, and explain it.",
    "show": "Show a plan as text, JSON, QMP, a script, a graph or a picture.",
    "apply": "Run a request or a plan on a VM.",
    "explore": "Explore every run of a design: every order, every guest, every fault.",
    "list": "List a VM's snapshots: recorded, and on its disks.",
    "adopt": "Record a snapshot that another tool made.",
    "verify": "Compare a snapshot with its manifest.",
    "load": "Go back to a snapshot, on all its disks or none.",
    "template": "Make a snapshot ready for instant restore.",
    "delete": "Delete a snapshot: its parts, and its manifest last.",
    "restore": "List, promote or drop what `load --run` has started and made.",
    "group": "Snapshots of several VMs at one instant, all or none.",
    "gc": "Find what no snapshot needs any more, and remove it.",
    "recover": "Finish or undo what an interrupted run left.",
    "check": "Lint any sequence of QMP commands.",
    "compare": "Compare designs for a request, predicted and measured.",
    "experiment": "Run many cases from one file, with statistics and a page.",
    "doctor": "Say what stands in the way of snapshots of a VM.",
    "design": "Begin a design file, to be explored.",
    "conformance": "Try on a QEMU what snapplan knows about QEMU.",
    "schema": "Print the JSON schema of an output, or list them.",
    "simulate": "Serve a simulated QEMU that any QMP client can talk to.",
    "help": "Show a page of the documentation, a command, a fact or an error code.",
    "completion": "Have a shell complete commands, options and files.",
}

_PREFIX = "SNAPPLAN"
_YES = ("1", "true", "t", "yes", "y", "on")
_CHANGE_A_VM = [
    [name]
    for name in (
        "apply",
        "load",
        "template",
        "delete",
        "restore",
        "gc",
        "recover",
        "compare",
        "group",
    )
]


class _Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        waiting_line.say(f"snapplan {cmd_name} is at work")
        with interrupt_held_back():
            module = importlib.import_module(f"{__package__}.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 - --help must not pay for it

        click.echo(f"snapplan {version('snapplan')}")
        ctx.exit()


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": _PREFIX},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Plan, prove and run snapshots of QEMU virtual machines.

    A request says what a snapshot is to hold; snapplan compiles it into QMP steps in either design
    (one snapshot-save job, or a transaction plus a machine-state step), proves their order, runs
    them, and undoes what fails.
    """


def main() -> None:
    """Run the command line; never returns.

    Exit codes: `snapplan help exit-codes`.
    """
    use_utf8()
    sys.exit(_run())


def _run() -> int:
    streams.open_streams()
    waiting_line.begin("snapplan is at work")
    try:
        return _told(_exit_code())
    finally:
        waiting_line.end()


def _told(code: int) -> int:
    """The exit code, also where what was to be said on stdout could not be.

    What became of a VM stands, whoever hears of it; of a command that only answers nothing is left.
    """
    lost = streams.lost_output()
    if lost is None or code:
        return code
    gone = isinstance(lost, BrokenPipeError)  # whoever read our output has seen enough
    if sys.argv[1:2] not in _CHANGE_A_VM:
        return 141 if gone else _report_lost(lost)
    if not gone:
        click.echo(f"snapplan: it is done, and stdout cannot be written: {lost.strerror}", err=True)
    return code


def _tables_that_fit() -> AbstractContextManager[None]:
    """On a terminal a table's last column is wrapped below itself; a pipe gets a line for each row."""
    if not sys.stdout.isatty():
        return nullcontext()
    return wrapped_at(shutil.get_terminal_size().columns)


def _exit_code() -> int:
    try:
        with _tables_that_fit():
            result = cli.main(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort as stopped:
        return _report_stopped(str(stopped))
    except click.ClickException as error:
        error.show()
        return _report_usage(error)
    except Exception as error:  # noqa: BLE001 - the last boundary: all that is left is ours
        return _report(error)


def _wants_json() -> bool:
    """Whether the command is to print JSON, also where its line could not be read."""
    words = sys.argv[1:]
    words = words[: words.index("--")] if "--" in words else words
    variable = f"{_PREFIX}_{words[0].upper()}_AS_JSON" if words else ""
    return "--json" in words or os.environ.get(variable, "").lower() in _YES


def _report_lost(lost: OSError) -> int:
    from planner.errors import BadInput, Problem  # noqa: PLC0415 - not needed for --help

    problem = Problem("file-unwritable", "stdout", lost.strerror or str(lost))
    return _report(BadInput.of(problem))


def _report_usage(error: click.ClickException) -> int:
    if _wants_json():
        from planner.cli.common import print_json  # noqa: PLC0415 - not needed for --help
        from planner.errors import BadInput  # noqa: PLC0415
        from planner.present.words import error_to_plain  # noqa: PLC0415

        print_json(error_to_plain(BadInput(error.format_message(), code="usage")))
    return 2


def _report_stopped(words: str) -> int:
    """Ctrl-C, or a No, outside of a run: one that has begun undoes itself and reports its own end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends, and once is enough
    from planner.errors import Interrupted  # noqa: PLC0415 - not needed for --help

    return _report(Interrupted("stopped", vm_state=words or "No run was cut short."))


def _report(error: Exception) -> int:
    from planner.cli.common import report_error  # noqa: PLC0415 - not needed for --help

    return report_error(error, as_json=_wants_json())
