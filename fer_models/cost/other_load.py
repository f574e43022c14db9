"""Load of other processes: whether a time was measured on a quiet machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: See proc_stat(5): the first line sums all processors, in ticks.
STAT = Path("/proc/stat")
#: Fields of the first line in which a processor works: user, nice, system, irq, softirq, steal.
_WORKING = (0, 1, 2, 5, 6, 7)


class OtherLoad:
    """The share of the machine's processors that other processes use, since its creation (Linux only)."""

    def __init__(self, stat: Path = STAT) -> None:
        """Start counting."""
        self._stat = stat
        self._working, self._own, self._started = (
            _working_seconds(stat),
            time.process_time(),
            time.monotonic(),
        )

    def share(self) -> float | None:
        """The share, 0..1; None where the system does not report it."""
        working, own = _working_seconds(self._stat), time.process_time() - self._own
        seconds = (time.monotonic() - self._started) * (os.cpu_count() or 1)
        if working is None or self._working is None or seconds <= 0:
            return None
        return min(1.0, max(0.0, (working - self._working - own) / seconds))


def _working_seconds(stat: Path) -> float | None:
    try:
        fields = stat.read_text().splitlines()[0].split()[1:]
        return sum(int(fields[i]) for i in _WORKING) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # another system, or another format
        return None
