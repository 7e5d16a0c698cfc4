"""What Dask's workers of this machine load first: Ctrl-C, which a terminal sends to all, is not theirs.

Whoever started them ends them, and has given them a $TMPDIR of their own.
"""

from __future__ import annotations

import signal
import tempfile

__all__: list[str] = []

signal.signal(signal.SIGINT, signal.SIG_IGN)
tempfile.tempdir = None  # look at $TMPDIR again, should anybody have done so before it was given
