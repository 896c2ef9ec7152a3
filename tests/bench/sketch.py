"""A sketch past one machine: what a million actions a second would take, computed from measured costs per action."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.bench.figures import Figures

ACTIONS_PER_S: Final = 1_000_000
BUSY: Final = 0.6
"""How much of a core is planned for: the rest is for peaks, restarts and neighbours."""
REPLICAS: Final = 3
"""Brokers that keep each record (replication 3); a follower is reckoned as dear as the leader."""
BROKER_CORES: Final = 8
SERVER_CORES: Final = 16
COUNTED_BYTES_PER_S: Final = 500e6
"""What one server writes to its log ahead: a good local disk, half used."""
NEEDED: Final = (
    "single.intake_us",
    "single.kafka_us",
    "batch100.counter_us",
    "batch100.postgres_us",
    "single.marathon_us",
)


TEXT: Final = """\
## A sketch past one machine

Computed, not measured: what {actions:,} single posts a second would take if each cost what it costs here, on cores like
these, {busy:.0%} busy. Counting is reckoned as in `batch100`, where transactions are full, times the growth of cost at
20 million rows.

TABLE

The topic would need {partitions:,} partitions: one for each counter, and some to spare. Production makes 48.

What gives way first is the {first}, at about {at:,.0f} actions a second: of the parts that do not spread it bears
least. It would have to be divided by dedupe key, as the topic is. Then comes {then}. All else takes more of the same.

Not reckoned: the network between machines, which loopback hides; TLS, which the proxy in front bears; that a broker's
followers are cheaper than its leader; and that the cores of a larger machine share its memory and its disk.
"""


class Part(NamedTuple):
    """One kind of part: what one of them bears alone, in actions a second, and how many it would take.

    `spreads` says how it can be had more than once, and is empty where it cannot.
    """

    name: str
    unit: str
    alone_per_s: float
    spreads: str

    @property
    def many(self) -> int:
        return math.ceil(ACTIONS_PER_S / self.alone_per_s)


def parts(figures: Mapping[str, float | bool]) -> list[Part]:
    """The parts, or none where a cost that they rest on was not measured."""
    if any(name not in figures for name in NEEDED):
        return []
    intake, kafka, counter, postgres, marathon = (float(figures[name]) for name in NEEDED)
    wal = float(figures.get("counter20m.wal_bytes", figures.get("counter.wal_bytes", 0.0)))
    growth = float(figures.get("growth.cost_ratio_20m", 1.0))
    server = 1e6 * SERVER_CORES * BUSY / (postgres * growth)
    if wal:
        server = min(server, COUNTED_BYTES_PER_S / wal)
    core, machine = 1e6 * BUSY, f"machines of {BROKER_CORES} cores, {REPLICAS} copies"
    return [
        Part("intake", "processes of one core", core / intake, "as often as needed: it keeps nothing"),
        Part("broker", machine, core * BROKER_CORES / (kafka * REPLICAS), "by partition"),
        Part("counter", "processes of one core", core / (counter * growth), "up to once for each partition"),
        Part("database of petitions", f"servers of {SERVER_CORES} cores", server, ""),
        Part("ledger of marathon", "processes of one core", core / marathon, ""),
    ]


def figures_of(found: list[Part]) -> Figures:
    """The computed counts, by name; nothing here was measured."""
    figures: Figures = {f"sketch.{part.name.replace(' ', '_')}": float(part.many) for part in found}
    if found:
        figures["sketch.partitions"] = float(partitions(found))
    return figures


def partitions(found: list[Part]) -> int:
    """At least one for each counter, and a power of two to deal out evenly."""
    counters = next(part.many for part in found if part.name == "counter")
    return 1 << math.ceil(math.log2(counters))


def text(found: list[Part]) -> list[str]:
    """The section of the page, line by line."""
    if not found:
        return []
    fixed = sorted((part for part in found if not part.spreads), key=lambda part: part.alone_per_s)
    first, *others = fixed
    then = " and ".join(f"the {part.name} at {part.alone_per_s:,.0f}" for part in others)
    table = [
        f"| {part.name} | {part.alone_per_s:,.0f} | {part.many:,} {part.unit} | {part.spreads or 'not yet'} |"
        for part in found
    ]
    paragraphs = TEXT.format(
        actions=ACTIONS_PER_S,
        busy=BUSY,
        partitions=partitions(found),
        first=first.name,
        at=first.alone_per_s,
        then=then,
    )
    before, after = paragraphs.split("TABLE\n")
    return [before, "| part | one bears, a second | it would take | it spreads |", "|---|---:|---|---|", *table, after]
