"""`snapplan verify`: whether a snapshot is still what its manifest says."""

from __future__ import annotations

import click

from backends.images import QemuImages
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.manifests import (
    find_manifest,
    find_on_vm,
    manifest_argument,
    offline_option,
    store_of,
)
from planner.compile.file_checks import file_notes, recorded_files
from planner.compile.left_out_checks import left_out_problems
from planner.errors import Problem, Refused, Violation, in_order
from planner.execute.evidence import look_at_files, stream_sizes
from planner.execute.left_out import look_at_left_out
from planner.execute.meeting import meet
from planner.execute.offline import check_images, verify_offline
from planner.execute.pending_images import check_images_free
from planner.execute.ports import Backend
from planner.execute.store import Store
from planner.execute.verifying import ask_images, verify_on_vm
from planner.model.manifest import Manifest, PartKind
from planner.present.verdict_view import Verdict, verdict_text, verdict_to_plain

__all__ = ["command"]


@click.command("verify")
@manifest_argument
@vm_option
@offline_option
@click.option(
    "--deep",
    is_flag=True,
    help="Read what there are digests of, and run `qemu-img check` on each image.",
)
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *, source: str, vm: str | None, offline: bool, deep: bool, store: Store, as_json: bool
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
    if vm is None:
        found = find_manifest(source, store.vms())
        check_images_free(store, found.manifest, store_of(found, store))
        verdict = run(_offline(found.manifest, deep=deep))
    else:
        verdict = _on_vm(source, vm, store, deep=deep)
    if as_json:
        print_json(verdict_to_plain(verdict))
    else:
        click.echo(verdict_text(verdict))
    return Violation.exit_code if verdict.findings else 0


def _on_vm(source: str, vm: str, store: Store, *, deep: bool) -> Verdict:
    async def work(backend: Backend) -> Verdict:
        met = await meet(backend, store, vm)
        facts, manifest = met.facts, find_on_vm(source, met.vm, met).manifest
        below = await ask_images(backend)
        local = backend.images is not None
        sizes = stream_sizes(manifest) if local else None
        files = look_at_files(manifest, deep=deep) if local else {}
        findings = verify_on_vm(manifest, facts, below, sizes, files)
        unchecked = list(file_notes(manifest, files, deep=deep)) if local else []
        if not local and (manifest.of_kind(PartKind.STREAM) or any(recorded_files(manifest))):
            unchecked.append(
                "the machine state's file, and whether frozen images were written to: the VM's files "
                "are not to be seen from here"
            )
        if deep:
            unchecked.append("the images with qemu-img: the VM has them open; use --offline")
        now = look_at_left_out(manifest, local=local)
        left_out = in_order(left_out_problems(manifest, now, facts))
        return Verdict(manifest, findings, tuple(unchecked), left_out)

    return run(connected(vm, work))


async def _offline(manifest: Manifest, *, deep: bool) -> Verdict:
    images = QemuImages()
    files = look_at_files(manifest, deep=deep)
    findings = await verify_offline(manifest, images, stream_sizes(manifest), files)
    _refuse_used(findings)
    if deep:
        looked_into = [
            file
            for part in manifest.parts
            if part.kind is not PartKind.STREAM
            for file in (part.file if part.format != "raw" else "", part.overlay_file)
            if file  # of a raw image there is nothing that qemu-img could check
        ]
        findings = in_order((*findings, *await check_images(looked_into, images)))
        _refuse_used(findings)
    notes = file_notes(manifest, files, deep=deep)
    unchecked = ("the machine and its devices: no VM was asked", *notes)
    left_out = in_order(left_out_problems(manifest, look_at_left_out(manifest)))
    return Verdict(manifest, findings, unchecked, left_out)


def _refuse_used(findings: tuple[Problem, ...]) -> None:
    """An image that somebody has open says nothing of a snapshot, good or bad."""
    used = tuple(problem for problem in findings if problem.code == "image-in-use")
    if used:
        raise Refused("a VM has the images open", problems=used, code="image-in-use")
