"""Kinds of storage and devices, under Linux, through save, load or restore, and delete: a sample.

All of them in campaigns; what became of each is in specs/device-table.md, and stays so.
"""

import itertools
import tempfile
from pathlib import Path

import pytest

from tests.live.device_kinds import DESIGNS, KINDS, Result, through
from tests.live.device_table import TABLE, cells_of, said_of, table
from tests.live.restore_table import version_of
from tests.support.qemu import qemu_binary

pytestmark = pytest.mark.real_qemu

SAMPLE = {
    ("virtio-scsi with an iothread", "external, live"),
}


MACHINES = [
    pytest.param(*each, marks=() if each in SAMPLE else pytest.mark.long)
    for each in itertools.product(KINDS, DESIGNS)
]


@pytest.mark.parametrize(("kind", "design"), MACHINES)
def test_a_machine_goes_back_or_is_refused_as_the_document_says(kind, design):
    """The guest finds memory and disks of one instant, and in the end only its own images are left."""
    program = qemu_binary()
    path = program if "/" in program else f"/usr/bin/{program}"
    with tempfile.TemporaryDirectory(prefix="snapplan-linux-") as folder:  # nobody may enter it
        result = through(kind, design, Path(folder))
    said = said_of(version_of(path), kind, design)
    if said == "not run":  # the document does not say; the sample works on every version
        said = "works" if (kind, design) in SAMPLE else result.verdict
    assert result.verdict == said, result


def test_the_document_is_read_as_it_is_written():
    """So that a run goes on where another one has stopped, and nothing that was found is lost."""
    cells = cells_of(TABLE.read_text())
    assert cells
    assert "\n".join(table(cells)) + "\n" == TABLE.read_text()
    found = {**cells, ("99.1", "NVMe", "internal"): Result("refused", "a | reason (of two)")}
    assert cells_of("\n".join(table(found))) == found
