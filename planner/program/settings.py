"""The migration settings of a run: what it needs, and what it finds and puts back.

A save or a load into an image needs nothing but that no other setting spoils it
(`planner.model.migration`).  A stream needs a few capabilities, and the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from planner.model.facts import Facts
from planner.model.migration import HARMLESS, ORDINARY, SPOILS, Setting
from planner.program.resolution import Settings

__all__ = [
    "left_as_found",
    "left_on",
    "settings_commands",
    "settings_for",
    "settings_of_stream",
]


def settings_for(facts: Facts) -> Settings:
    """What `snapshot-save` and `snapshot-load` need: whatever is left on is off meanwhile."""
    return _settings(facts, left_as_found(facts), _found_unlike(facts, ORDINARY))


def left_as_found(facts: Facts) -> frozenset[str]:
    """The capabilities that are on and may stay so."""
    return frozenset(name for name in HARMLESS if facts.capabilities.get(name))


def settings_of_stream(
    facts: Facts, capabilities: Iterable[str], limits: Mapping[str, int]
) -> Settings:
    """What a stream needs: just these capabilities, these limits, and nothing that spoils it."""
    wanted = frozenset(capabilities)
    already = tuple(sorted(name for name in wanted if facts.capabilities.get(name)))
    return _settings(facts, wanted, _found_unlike(facts, {**ORDINARY, **limits}), already)


def _found_unlike(facts: Facts, parameters: Mapping[str, Setting]) -> dict[str, Setting]:
    return {
        name: parameters[name]
        for name in sorted(parameters)
        if name in facts.parameters and facts.parameters[name] != parameters[name]
    }


def _settings(
    facts: Facts,
    wanted: Iterable[str],
    parameters: Mapping[str, Setting],
    already_on: tuple[str, ...] = (),
) -> Settings:
    found = facts.capabilities
    differing = [name for name in sorted(found) if found[name] != (name in wanted)]
    return Settings(
        capabilities=tuple((name, name in wanted) for name in differing),
        capabilities_before=tuple((name, found[name]) for name in differing),
        parameters=tuple(parameters.items()),
        parameters_before=tuple((name, facts.parameters[name]) for name in parameters),
        already_on=already_on,
    )


def settings_commands(
    capabilities: Sequence[tuple[str, bool]], parameters: Sequence[tuple[str, Setting]]
) -> Iterator[tuple[str, dict[str, object]]]:
    """The QMP commands that make settings these, with their arguments; both may be sent twice."""
    if capabilities:
        changes = [{"capability": name, "state": on} for name, on in capabilities]
        yield "migrate-set-capabilities", {"capabilities": changes}
    if parameters:
        yield "migrate-set-parameters", dict(parameters)


def left_on(settings: Settings) -> Iterator[str]:
    """Say, for a reader, what somebody has left set and the run sets otherwise meanwhile."""
    for name, on in settings.capabilities:
        if not on:
            why = f" ({SPOILS[name]})" if name in SPOILS else ""
            yield (
                f"the migration capability {name} is on{why}: it is off during the run, and on again "
                "afterwards (fact 64)"
            )
    before = dict(settings.parameters_before)
    for name, value in settings.parameters:
        if name in ORDINARY:
            yield (
                f"the migration parameter {name} is {before[name]!r}: it is {value!r} during the run, "
                "and as it was afterwards (fact 64)"
            )
