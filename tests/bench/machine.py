"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Final, NamedTuple

GIB: Final = 1024**3


class Machine(NamedTuple):
    """The machine and the programs that matter."""

    processor: str
    cores: int
    memory_gib: int
    kernel: str
    python: str


def here() -> Machine:
    """This machine."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def busy_share(seconds: float = 2.0) -> float:
    """The share of all cores that is in use while nothing of ours runs, seen for `seconds`: above 0.05 figures suffer.

    Source: proc_stat(5): the first line, in ticks; the fourth and fifth fields are idle and waiting for disks.
    """
    before = _ticks()
    time.sleep(seconds)
    spent = [after - first for after, first in zip(_ticks(), before, strict=True)]
    return 1 - sum(spent[3:5]) / max(1, sum(spent))


def _ticks() -> list[int]:
    return [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
