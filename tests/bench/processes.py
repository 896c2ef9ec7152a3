"""What processes cost, from /proc alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 1024 * 1024


class _Stat(NamedTuple):
    parent: int
    own_ticks: int
    ended_children_ticks: int


def cpu_seconds(pid: int) -> float:
    """CPU that process `pid`, its descendants alive and those that ended have used so far.

    Source: proc_pid_stat(5): utime, stime, cutime, cstime.
    """
    family = _family(pid, {entry: stat for entry in _pids() if (stat := _stat(entry))})
    return sum(stat.own_ticks + stat.ended_children_ticks for stat in family) / TICKS


def resident_mb(pid: int) -> float:
    """Resident memory of process `pid` in MiB, its own alone; 0 where it has ended."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / MIB
    return 0.0


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> _Stat | None:
    try:
        # The second field is the program's name in brackets, which may hold spaces.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))


def _family(pid: int, stats: dict[int, _Stat]) -> list[_Stat]:
    if pid not in stats:
        return []
    family = [stats[pid]]
    for child, stat in stats.items():
        if stat.parent == pid:
            family += _family(child, stats)
    return family
