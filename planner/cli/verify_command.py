"""`snapplan verify`: whether a snapshot is still what its manifest says."""

from __future__ import annotations

import click

from planner.cli.asking import context_of, offline_of
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.manifests import (
    check_name,
    manifest_argument,
    name_option,
    offline_option,
    secret_option,
)
from planner.cli.reporter import TerminalReporter, progress_option
from planner.errors import Violation
from planner.model.image_key import Secrets
from planner.present.verdict_view import Verdict, verdict_text, verdict_to_plain
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.verify import verify, verify_offline

__all__ = ["command"]


@click.command("verify")
@manifest_argument
@vm_option
@offline_option
@name_option
@click.option(
    "--deep",
    is_flag=True,
    help="Read what there are digests of, and run `qemu-img check` on each image.",
)
@secret_option
@store_option
@progress_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    offline: bool,
    name: str,
    deep: bool,
    secrets: Secrets,
    store: Store,
    progress: str,
    as_json: bool,
) -> int:
    """Compare a snapshot with its manifest: every part, once, of one instant, on the same machine.

    Changes nothing. With --vm the VM is asked; with --offline the image files are looked at. The file of
    the machine state and frozen images must be the very files that were saved: length and times are
    compared, and where these are not as they were, or with --deep, the content by its digest. Images
    that a VM has open cannot be checked by --deep with qemu-img, and that is said.
    Exit 0: it is whole; 30: findings.
    """
    if (vm is None) == (not offline):
        raise click.UsageError("give either --vm ADDR or --offline")
    check_name(name, vm, secrets)
    with TerminalReporter(progress) as reporter:
        if vm is None:
            gone = offline_of(store, reporter, vm_name=name, secrets=secrets)
            verdict = run(verify_offline(gone, source, deep=deep))
        else:

            async def work(backend: Backend) -> Verdict:
                return await verify(context_of(backend, store, vm, reporter), source, deep=deep)

            verdict = run(connected(vm, work))
    if as_json:
        print_json(verdict_to_plain(verdict))
    else:
        click.echo(verdict_text(verdict))
    return Violation.exit_code if verdict.findings else 0
