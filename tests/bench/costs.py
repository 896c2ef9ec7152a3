"""What a measurement costs: CPU by part of the system, and where the machine's time went."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self

from tests.bench.processes import TICKS

BENCH: Final = "bench"
"""The bench itself, which supervises the platform and asks it how far it is."""


class MachineTime(NamedTuple):
    """Seconds of all cores since the start, as proc_stat(5) counts them in its first line."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float

    @classmethod
    def read(cls) -> Self:
        """As of now."""
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        return cls(*(int(one) / TICKS for one in fields))

    @property
    def total(self) -> float:
        return sum(self)

    @property
    def unused(self) -> float:
        """Idle, or waiting for a disk."""
        return self.idle + self.iowait

    def since(self, before: MachineTime) -> MachineTime:
        """What has passed since `before`."""
        return MachineTime(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass(frozen=True, slots=True)
class CostSample:
    """CPU seconds used so far by each part of the system, and the machine's own account, at one moment."""

    parts: Mapping[str, float]
    machine: MachineTime = field(default_factory=MachineTime.read)
    bench: float = field(default_factory=time.process_time)

    def used(self, before: CostSample) -> dict[str, float]:
        """CPU seconds by part since `before`, with the bench's own."""
        used = {name: value - before.parts.get(name, 0.0) for name, value in self.parts.items()}
        return {**used, BENCH: self.bench - before.bench}


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the time of all cores went while load was made: shares of it.

    `unaccounted` was used by none of the parts, the load generator or the bench: the kernel's own work, and others.
    """

    idle: float
    softirq: float
    stolen: float
    unaccounted: float


def shares(before: CostSample, after: CostSample, generator_s: float) -> Shares:
    """The shares between two readings, in which the load generator used `generator_s`."""
    spent = after.machine.since(before.machine)
    whole = max(spent.total, 1 / TICKS)
    accounted = sum(after.used(before).values()) + generator_s
    return Shares(
        idle=spent.unused / whole,
        softirq=(spent.softirq + spent.irq) / whole,
        stolen=spent.steal / whole,
        unaccounted=max(0.0, whole - spent.unused - spent.steal - accounted) / whole,
    )
