"""SPIN, asked the same question in its own language, gives the same verdict.

The long campaign (`script/campaign`) asks for one to four disks and up to two faults.
"""

import pytest

from planner.errors import Refused
from planner.explore.promela import promela
from planner.explore.search import explore
from planner.explore.state import ClientDeath
from tests.model.exploring import DESIGNS, setting_for
from tests.model.spin import SPIN_MISSING, spin_and_explorer
from tests.support.fixtures import long

LONG = ("live", "external-migrate-first", "frozen")
"""Designs with a sibling that always runs: `background` and, of the mistakes, `background-untracked`;
`frozen` is asked below."""


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.parametrize("design", [*sorted(set(DESIGNS) - set(LONG)), *long(*LONG)])
def test_spin_agrees_with_the_explorer(design, tmp_path):
    """Two disks, one fault: the same properties are violated."""
    setting = setting_for(design, faults=1)
    spin, explorer, _ = spin_and_explorer(setting, explore(setting), tmp_path)
    assert spin == explorer


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.parametrize(
    ("design", "death"),
    [
        ("transactional", ClientDeath.FOR_GOOD),
        ("frozen", ClientDeath.FOR_GOOD),
        pytest.param("background", ClientDeath.RECOVERED, marks=pytest.mark.long),
    ],
)
def test_spin_agrees_where_the_client_dies(design, death, tmp_path):
    """For good, or until somebody recovers; `script/campaign` asks for every design."""
    setting = setting_for(design, faults=1, client_death=death)
    spin, explorer, _ = spin_and_explorer(setting, explore(setting), tmp_path)
    assert spin == explorer


def test_model_is_the_same_text_every_time():
    """The same setting, the same bytes."""
    assert promela(setting_for("transactional")) == promela(setting_for("transactional"))


def test_what_the_promela_model_does_not_know_is_refused():
    """Other clients are the explorer's alone, and so are very large instructions."""
    for setting in (
        setting_for("transactional", faults=1, other_clients=True),
        setting_for("monolithic", disks=20),
    ):
        with pytest.raises(Refused) as refused:
            promela(setting)
        assert refused.value.code == "export-cannot"
