"""What `explore` is given: a plan's program, a compiled request, or a design file over a request."""

from __future__ import annotations

import click
from attrs import evolve, frozen

from planner.cli.common import gather_facts, read_file
from planner.compile.designs import DESIGNS
from planner.compile.plan import compile_request
from planner.compile.plan_text import is_plan, read_plan
from planner.compile.resolve import resolve
from planner.errors import Problem
from planner.explore.acts import ClientDeath
from planner.explore.back import BackSetting, Purpose, back_setting, purpose_of
from planner.explore.back_search import BackSearch
from planner.explore.design import DesignFile
from planner.explore.instruction import ClientKind, Instruction
from planner.explore.laying import lay
from planner.explore.moves import Reductions
from planner.explore.rules_say import rules_say
from planner.explore.search import Search
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.state import Setting
from planner.model.facts import Facts
from planner.model.request import ExistingTag
from planner.model.request_text import ReadRequest, read_request
from planner.program.resolution import Resolution
from planner.verbs.design_files import find_design

__all__ = ["Strikes", "Task", "task_of"]

_COMPILED = ("auto", *(design.name for design in DESIGNS))


@frozen
class Strikes:
    """What may go wrong in an exploration.

    Attributes:
        faults: How many faults may strike.
        other_clients: Whether other QMP clients act too.
        client_death: Whether the client may die, and what comes then.
    """

    faults: int
    other_clients: bool
    client_death: ClientDeath


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


def task_of(
    source: str, vm: str | None, facts_file: str | None, design: str, strikes: Strikes
) -> Task:
    """Read what is to be explored.

    Raises:
        BadInput: A file is malformed, or a design unknown.
        Refused: The design cannot do it.
    """
    text = read_file(source)
    given = facts_file is not None or vm is not None
    if is_plan(text):
        if design != "auto":
            raise click.UsageError("a plan file has its design; --design goes with a request")
        program = read_plan(text, source).program
        facts = gather_facts(vm, facts_file) if given else None
        resolution, sent = program.resolution, instructions_of(program)
        return Task(_setting(resolution, sent, program.design, facts, strikes), resolution)
    facts = gather_facts(vm, facts_file)
    read = read_request(text, source)
    if design in _COMPILED:
        program = compile_request(read, facts, design).program
        resolution, sent = program.resolution, instructions_of(program)
        return Task(_setting(resolution, sent, program.design, facts, strikes), resolution)
    return _of_a_file(find_design(design), read, facts, strikes)


def _of_a_file(design: DesignFile, read: ReadRequest, facts: Facts, strikes: Strikes) -> Task:
    if purpose_of(design) is not Purpose.SAVE:
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
    )
