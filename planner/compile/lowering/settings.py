"""Steps that make the VM's migration settings what a run needs, and put them back.

They come before anything else and after everything else: neither costs the guest a moment of its pause,
and no part is made under settings that somebody else has left (fact 64).  Where all is as it should be
there are none.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.model.migration import Setting
from planner.model.operations import Kind, Operation
from planner.program.program import Step, Undo, UndoKind
from planner.program.resolution import Resolution, Settings
from planner.program.settings import settings_commands

__all__ = ["around_vmstate", "settings_before", "settings_put_back"]


def around_vmstate(resolution: Resolution) -> Iterator[Step]:
    """The steps around machine state that goes into an image."""
    disk = resolution.vmstate_at
    before = (Operation(Kind.PAUSE_GUEST), Operation(Kind.WRITE_VMSTATE, disk=disk))
    after = (Operation(Kind.RESUME_GUEST), Operation(Kind.DISCARD_VMSTATE, disk=disk))
    yield from settings_before(resolution.settings, before)
    yield from settings_put_back(resolution.settings, after)


def settings_before(settings: Settings, precedes: tuple[Operation, ...]) -> Iterator[Step]:
    """Make the settings what the run needs."""
    yield from _steps(
        settings.capabilities,
        settings.parameters,
        precedes=precedes,
        undo=(Undo(UndoKind.RESTORE_SETTINGS),),
    )


def settings_put_back(settings: Settings, follows: tuple[Operation, ...]) -> Iterator[Step]:
    """Make them again what they were."""
    yield from _steps(settings.capabilities_before, settings.parameters_before, follows=follows)


def _steps(
    capabilities: tuple[tuple[str, bool], ...],
    parameters: tuple[tuple[str, Setting], ...],
    *,
    precedes: tuple[Operation, ...] = (),
    follows: tuple[Operation, ...] = (),
    undo: tuple[Undo, ...] = (),
) -> Iterator[Step]:
    for execute, arguments in settings_commands(capabilities, parameters):
        yield Step(
            execute=execute,
            arguments=arguments,
            covers=(),
            undo=undo,
            precedes=precedes,
            follows=follows,
        )
