"""What a program prepares and tidies up around its captures: settings, files, descriptors.

Part of the verifier: it keeps account of the VM's migration settings and of the files on the host, as
the steps say, and finds what is used before it is there, left as it should not be, or somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from attrs import define, field

from planner.errors import Problem
from planner.model.migration import Setting
from planner.program.program import DESCRIPTOR_NAME, FLUSHES, Step, Target, Undo, UndoKind
from planner.program.resolution import DiskCopy, Overlay, Resolution, Settings
from planner.program.rule_ids import RuleId

__all__ = ["Preparations"]


@define
class Preparations:
    """The settings and files as a program changes them.

    Attributes:
        resolution: What was decided.
        overlays: Its overlays, by path.
        images: Disks whose overlay's image has been made.
        set_capabilities: Capabilities that the program has set, with their values.
        set_parameters: Parameters that it has set.
        temporary: Whether the machine state's temporary file is there.
        kept: Whether the machine state's file has its name.
        descriptor: Whether QEMU was given the descriptor of that file.
        in_set: Whether QEMU has it in a set, and keeps it until it is told otherwise.
    """

    resolution: Resolution
    overlays: dict[str, Overlay] = field(init=False)
    images: set[str] = field(factory=set)
    set_capabilities: dict[str, bool] = field(factory=dict)
    set_parameters: dict[str, Setting] = field(factory=dict)
    temporary: bool = False
    kept: bool = False
    descriptor: bool = False
    in_set: bool = False

    @overlays.default
    def _by_path(self) -> dict[str, Overlay]:
        return {overlay.path: overlay for overlay in self.resolution.overlays}

    @property
    def _settings(self) -> Settings:
        return self.resolution.migration_settings

    @property
    def capabilities(self) -> frozenset[str]:
        """Capabilities that are on, as far as the program needs to know."""
        now = dict.fromkeys(self._settings.already_on, True) | self.set_capabilities
        return frozenset(name for name, on in now.items() if on)

    def take(self, step: Step, where: str, *, ended: bool) -> Iterator[Problem]:
        """Take account of a step; says what is wrong with it.

        Args:
            step: The step.
            where: What to call it.
            ended: Whether the machine state is complete in its file before it, and QEMU done with that.
        """
        try:
            problems = list(self._take(step, where, ended=ended))
        except (KeyError, TypeError, AttributeError, ValueError):
            problems = [Problem("arguments-malformed", where, "its arguments cannot be read")]
        yield from problems

    def _take(self, step: Step, where: str, *, ended: bool) -> Iterator[Problem]:
        if step.target is Target.HOST:
            yield from self._take_host(step, where, ended=ended)
        elif step.execute == "migrate-set-capabilities":
            changes = cast("Sequence[Mapping[str, object]]", step.arguments["capabilities"])
            self.set_capabilities |= {str(c["capability"]): bool(c["state"]) for c in changes}
            yield from self._check_known(step, where)
        elif step.execute == "migrate-set-parameters":
            self.set_parameters |= cast("Mapping[str, Setting]", step.arguments)
            yield from self._check_known(step, where)
        elif step.execute == "getfd":
            if not self.temporary or step.arguments["fdname"] != self._passed:
                yield Problem(
                    RuleId.COMPLETE, where, "it passes a descriptor of no file that was made"
                )
            yield from _must_undo(step, where, Undo(UndoKind.CLOSE_DESCRIPTOR))
            self.descriptor = True
        elif step.execute in ("add-fd", "remove-fd"):
            yield from self._take_set(step, where, ended=ended)
        elif step.execute == "migrate":
            yield from self._check_migrate(step, where)
        elif step.execute == "snapshot-save":
            yield from self._check_known_settings(where)

    def _take_set(self, step: Step, where: str, *, ended: bool) -> Iterator[Problem]:
        own = self.resolution.state_file
        if own is None or step.arguments["fdset-id"] != own.descriptor_set:
            yield Problem(
                RuleId.NOTHING_ELSE, where, "it is about a set of descriptors of nobody's"
            )
        elif step.execute == "add-fd":
            if not self.temporary:
                yield Problem(
                    RuleId.COMPLETE, where, "it passes a descriptor of no file that was made"
                )
            if step.arguments["opaque"] != self._passed:
                yield Problem(RuleId.COMPLETE, where, f"it must be passed as {self._passed}")
            yield from _must_undo(step, where, Undo(UndoKind.CLOSE_DESCRIPTOR))
            self.descriptor = self.in_set = True
        else:
            if not ended:
                yield Problem(
                    RuleId.COMPLETE, where, "the machine state still needs the descriptor"
                )
            self.in_set = False

    def _check_known(self, step: Step, where: str) -> Iterator[Problem]:
        before = dict(self._settings.capabilities_before)
        limits = dict(self._settings.parameters_before)
        unknown = {*self.set_capabilities} - {*before} | {*self.set_parameters} - {*limits}
        for name in sorted(unknown):
            yield Problem(RuleId.SETTINGS_RESTORED, where, f"nothing says what {name} was before")
        changed = any(before.get(n) is not v for n, v in self.set_capabilities.items())
        changed = changed or any(limits.get(n) != v for n, v in self.set_parameters.items())
        if changed and step.precedes:
            yield from _must_undo(step, where, Undo(UndoKind.RESTORE_SETTINGS))

    def _check_migrate(self, step: Step, where: str) -> Iterator[Problem]:
        if not self.temporary:
            yield Problem(RuleId.COMPLETE, where, "the file of the stream is not made before it")
        by_descriptor = str(step.arguments["uri"]).startswith(("fd:", "file:/dev/fdset/"))
        if by_descriptor and not self.descriptor:
            yield Problem(
                RuleId.COMPLETE, where, "it writes to a descriptor that QEMU was not given"
            )
        for name, on in self._settings.capabilities:
            if self.set_capabilities.get(name) is not on:
                word = "on" if on else "off"
                yield Problem(RuleId.COMPLETE, where, f"capability {name} must be {word} before it")

    def _check_known_settings(self, where: str) -> Iterator[Problem]:
        """QEMU heeds what somebody left on, and says nothing, or crashes (fact 64)."""
        wanted = {**dict(self._settings.capabilities), **dict(self._settings.parameters)}
        now: dict[str, object] = {**self.set_capabilities, **self.set_parameters}
        for name, value in wanted.items():
            if now.get(name) != value:
                yield Problem(RuleId.KNOWN_SETTINGS, where, f"{name} must be {value!r} before it")

    def _take_host(self, step: Step, where: str, *, ended: bool) -> Iterator[Problem]:
        if step.execute == "create-overlay":
            yield from self._take_image(step, where)
            return
        if step.execute in FLUSHES:
            yield from self._check_flush(step, where)
            return
        if step.execute in ("create-copy", "keep-copy"):
            return  # CopyWalk's business
        own = self.resolution.state_file
        paths = (step.arguments["path"], step.arguments["temporary"])
        if own is None or paths != (own.path, own.temporary):
            yield Problem(
                RuleId.NOTHING_ELSE, where, "it makes a file that the request does not ask for"
            )
            return
        node = "" if self.resolution.vmstate_node is None else self.resolution.vmstate_node.node
        yield from _must_undo(step, where, Undo(UndoKind.REMOVE_FILE, node))
        makes = "create-vmstate-image" if node else "create-stream"
        if step.execute == makes:
            self.temporary = True
            return
        if step.execute != "keep-stream":
            yield Problem(RuleId.NOTHING_ELSE, where, "it makes a file of another kind")
        if not self.temporary or not ended:
            yield Problem(RuleId.COMPLETE, where, "it names machine state that is not complete")
        yield from self._check_restored(step, where)
        self.kept = True

    @property
    def _passed(self) -> str:
        """By which name the descriptor must be passed: libvirt's header is written for one alone."""
        stream = self.resolution.stream
        return DESCRIPTOR_NAME if stream is None else stream.descriptor_name

    def _check_restored(self, step: Step, where: str) -> Iterator[Problem]:
        """`virsh restore` must write neither to what a part is in, nor to an overlay that is in use."""
        stream = self.resolution.stream
        apart: tuple[Overlay | DiskCopy, ...] = self.resolution.overlays + self.resolution.copies
        if stream is None or not stream.libvirt:
            if "libvirt" in step.arguments:
                yield Problem(RuleId.NOTHING_ELSE, where, "the file has no header of libvirt's")
            return
        restored = cast("Mapping[str, str]", step.arguments["libvirt"])
        if {*restored} != {each.base_file for each in apart}:
            yield Problem(RuleId.COMPLETE, where, "each disk apart needs an overlay to restore on")
        used = {*restored} | {each.path for each in apart}
        if used & {*restored.values()} or len({*restored.values()}) != len(restored):
            yield Problem(RuleId.COMPLETE, where, "a restore must open new overlays, each its own")

    def _check_flush(self, step: Step, where: str) -> Iterator[Problem]:
        parts = {part.disk for part in self.resolution.internal}
        parts |= {overlay.disk for overlay in self.resolution.overlays}
        disks = cast("Sequence[str]", step.arguments["disks"])
        stream = self.resolution.stream
        temporary = "" if stream is None else stream.temporary
        if not parts.issuperset(disks) or step.arguments.get("temporary", temporary) != temporary:
            yield Problem(RuleId.NOTHING_ELSE, where, "it touches a file that is no part of this")

    def _take_image(self, step: Step, where: str) -> Iterator[Problem]:
        overlay = self.overlays.get(cast("str", step.arguments["path"]))
        if overlay is None or not _makes(step, overlay):
            yield Problem(
                RuleId.NOTHING_ELSE, where, "it makes an image that the request does not ask for"
            )
            return
        yield from _must_undo(step, where, Undo(UndoKind.REMOVE_FILE, overlay.disk))
        self.images.add(overlay.disk)

    def finish(self, where: str) -> Iterator[Problem]:
        """Say what is not as it must be at the end."""
        if self.resolution.state_file is not None and not self.kept:
            yield Problem(RuleId.COMPLETE, where, "the machine state's file never gets its name")
        if self.in_set:
            yield Problem(
                RuleId.SETTINGS_RESTORED, where, "QEMU keeps the descriptor of the machine state"
            )
        before: dict[str, object] = dict(self._settings.capabilities_before)
        before |= self._settings.parameters_before
        now: dict[str, object] = {**self.set_capabilities, **self.set_parameters}
        for name in sorted(now):
            if now[name] != before.get(name):
                yield Problem(RuleId.SETTINGS_RESTORED, where, f"{name} is not put back as it was")


def _makes(step: Step, overlay: Overlay) -> bool:
    return dict(step.arguments) == {
        "path": overlay.path,
        "base": overlay.base_file,
        "base-format": overlay.base_format,
        "size": overlay.size_bytes,
    }


def _must_undo(step: Step, where: str, undo: Undo) -> Iterator[Problem]:
    if undo not in step.undo:
        yield Problem(RuleId.UNDO_COMPLETE, where, f"its undo must be: {undo.kind}")
