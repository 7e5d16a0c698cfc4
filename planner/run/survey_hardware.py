"""Asks a VM for the machine that its state fits; a question that it does not know stays unanswered."""

from __future__ import annotations

from collections.abc import Callable, Generator

from planner.model.hardware import (
    BUILT_IN,
    Hardware,
    HardwareReplies,
    first_processor,
    flashes_of,
    hardware_from_replies,
)
from planner.model.peripherals import OBJECTS
from planner.run.actions import Response, Send

__all__ = ["survey_hardware"]

Asking = Generator[Send, Response, object]
AskIfKnown = Callable[..., Asking]

_MACHINE = "/machine"
_BIOS = "pc.bios"


def survey_hardware(ask: AskIfKnown) -> Generator[Send, Response, Hardware]:
    """Ask for the machine.

    Args:
        ask: Asks a question with these arguments; None: the VM does not know it.

    Raises:
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    processors = yield from ask("query-cpus-fast")
    first = first_processor(processors)
    return hardware_from_replies(
        HardwareReplies(
            processors=processors,
            pci=(yield from ask("query-pci")),
            kvm=(yield from ask("query-kvm")),
            built_in=(yield from ask("qom-list", path=BUILT_IN)),
            objects=(yield from ask("qom-list", path=OBJECTS)),
            topology=(yield from _get(ask, _MACHINE, "smp")),
            memory=(yield from _get(ask, _MACHINE, "memory")),
            features=(yield from _get(ask, first, "feature-words")) if first else None,
            firmware=(yield from _firmware(ask)),
        )
    )


def _get(ask: AskIfKnown, path: str, name: str) -> Asking:
    return (yield from ask("qom-get", path=path, property=name))


def _firmware(ask: AskIfKnown) -> Generator[Send, Response, tuple[tuple[str, int], ...]]:
    """The memory that holds firmware: a PC's ``-bios``, and flash memories."""
    regions = [(_BIOS, f"{BUILT_IN}/{_BIOS}[0]")]
    flashes = flashes_of((yield from ask("qom-list", path=_MACHINE)))
    regions += [(name, f"{_MACHINE}/{name}/{name}[0]") for name in flashes]
    found = []
    for name, path in regions:
        size = yield from _get(ask, path, "size")
        if type(size) is int:
            found.append((name, size))
    return tuple(found)
