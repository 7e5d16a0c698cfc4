"""What Dask's workers of this machine load first: Ctrl-C, which a terminal sends to all, is not theirs.

Whoever started them ends them.
"""

from __future__ import annotations

import signal

__all__: list[str] = []

signal.signal(signal.SIGINT, signal.SIG_IGN)
