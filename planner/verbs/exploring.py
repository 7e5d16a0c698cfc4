"""What an exploration is of: a program, or a design over a request; without reading any file."""

from __future__ import annotations

from attrs import evolve, frozen

from planner.compile.designs import DESIGNS
from planner.compile.plan import compile_request
from planner.compile.resolve import resolve
from planner.errors import Problem, Refused
from planner.explore.acts import ClientDeath
from planner.explore.back import BackSetting, Purpose, back_setting, purpose_of
from planner.explore.back_search import BackSearch
from planner.explore.design import DesignFile
from planner.explore.instruction import ClientKind, Instruction
from planner.explore.laying import lay
from planner.explore.limits import LIMIT_OPTIONS, NO_LIMITS, Limits
from planner.explore.moves import Reductions
from planner.explore.rules_say import rules_say
from planner.explore.search import Search
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.state import Setting
from planner.model.facts import Facts
from planner.model.request import ExistingTag
from planner.model.request_text import ReadRequest
from planner.program.program import Program
from planner.program.resolution import Resolution

__all__ = ["COMPILED", "Strikes", "Task", "task_of_design", "task_of_program", "task_of_request"]

COMPILED = ("auto", *(design.name for design in DESIGNS))
"""Names of designs that are compiled; any other is a design file."""


@frozen
class Strikes:
    """What may go wrong in an exploration, and what is asked all the same.

    Attributes:
        faults: How many faults may strike.
        other_clients: Whether other QMP clients act too.
        client_death: Whether the client may die, and what comes then.
        limits: What is asked of the pause, besides what always must hold.
    """

    faults: int
    other_clients: bool
    client_death: ClientDeath
    limits: Limits = NO_LIMITS


@frozen
class Task:
    """What is explored.

    Attributes:
        setting: The setting.
        resolution: The request, resolved.
        left_out: What of a design file the request does not need.
    """

    setting: Setting | BackSetting
    resolution: Resolution
    left_out: tuple[tuple[str, str], ...] = ()

    def search(self, bound: int, *, reduced: bool) -> Search | BackSearch:
        """The search through all of it."""
        if isinstance(self.setting, BackSetting):
            return BackSearch(self.setting, bound)
        return Search(self.setting, Reductions() if reduced else Reductions.none(), bound)

    def rules(self) -> tuple[Problem, ...]:
        """What the ordering rules say; of a load or a delete there are none."""
        if isinstance(self.setting, BackSetting):
            return ()
        return rules_say(self.setting.instructions, self.resolution)

    def promela(self) -> str:
        """The model for SPIN.

        Raises:
            Refused: It has what the model does not know.
        """
        if isinstance(self.setting, BackSetting):
            from planner.explore.promela_back import promela_back  # noqa: PLC0415 - rarely needed

            return promela_back(self.setting)
        from planner.explore.promela import promela  # noqa: PLC0415 - rarely needed

        return promela(self.setting)


def task_of_program(program: Program, facts: Facts | None, strikes: Strikes) -> Task:
    """Explore what a program sends.

    Raises:
        Refused: It needs what the explorer does not model.
    """
    resolution, sent = program.resolution, instructions_of(program)
    return Task(_setting(resolution, sent, program.design, facts, strikes), resolution)


def task_of_request(read: ReadRequest, facts: Facts, design: str, strikes: Strikes) -> Task:
    """Explore what a compiled design, or ``auto``, makes of a request.

    Raises:
        BadInput: The request is malformed.
        Refused: The design cannot do it.
    """
    return task_of_program(compile_request(read, facts, design).program, facts, strikes)


def task_of_design(design: DesignFile, read: ReadRequest, facts: Facts, strikes: Strikes) -> Task:
    """Explore a design file over a request; of one that goes back or deletes, that which saved.

    Raises:
        BadInput: The request is malformed.
        Refused: The design cannot do it.
    """
    if purpose_of(design) is not Purpose.SAVE:
        _nothing_asked(design, strikes.limits)
        resolution = resolve(_saved(read), facts)
        return Task(
            back_setting(
                design,
                resolution,
                faults=strikes.faults,
                other_clients=strikes.other_clients,
                client_death=strikes.client_death,
            ),
            resolution,
        )
    resolution = resolve(read, facts)
    laid = lay(design, resolution)
    setting = _setting(
        resolution, laid.instructions, design.name, facts, strikes, client=design.client
    )
    return Task(setting, resolution, laid.left_out)


def _nothing_asked(design: DesignFile, limits: Limits) -> None:
    problems = tuple(
        Problem(
            "explore-cannot",
            design.name,
            f"{LIMIT_OPTIONS[asked]} is about a save, and this design saves nothing",
            f"leave out {LIMIT_OPTIONS[asked]}",
        )
        for asked in limits.asked
    )
    if problems:
        raise Refused("this cannot be explored", problems=problems, code="explore-cannot")


def _saved(read: ReadRequest) -> ReadRequest:
    """The request as one whose snapshot may be there already."""
    if read.problems:
        return read
    return evolve(read, request=evolve(read.request, existing_tag=ExistingTag.REPLACE))


def _setting(  # noqa: PLR0913 - what an exploration is about
    resolution: Resolution,
    instructions: tuple[Instruction, ...],
    design: str,
    facts: Facts | None,
    strikes: Strikes,
    *,
    client: ClientKind = ClientKind.CAREFUL,
) -> Setting:
    return setting_of(
        resolution,
        instructions,
        design,
        facts,
        faults=strikes.faults,
        other_clients=strikes.other_clients,
        client_death=strikes.client_death,
        client=client,
        limits=strikes.limits,
    )
