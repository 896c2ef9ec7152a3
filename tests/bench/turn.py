"""What a row of the bench is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.bench.rivals import Rivals
from tests.bench.stand import Stand

CONNECTIONS: Final = 256

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds of load in each run. `streamed` is for FastStream, which needs three times as long again to catch up."""

    single: float
    rival: float
    streamed: float
    batch: float


QUICK: Final = Lengths(single=5, rival=4, streamed=3, batch=5)
FULL: Final = Lengths(single=20, rival=15, streamed=8, batch=15)


@dataclass(frozen=True, slots=True)
class Turn:
    """A stand of ours and the rivals on the same platform, whose turn it is to be measured."""

    ours: Stand
    theirs: Rivals
    lengths: Lengths
    say: Say
