"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.costs import MachineTime

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
    """The share of all cores that is in use while nothing of ours runs, over `seconds`; figures suffer above 0.05."""
    before = MachineTime.read()
    time.sleep(seconds)
    spent = MachineTime.read().since(before)
    return 1 - spent.unused / spent.total


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
