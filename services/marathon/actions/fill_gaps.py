"""Fill what is missing in the ledger of a source partition: a person's decision, carried out in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from services.marathon.actions.apply_tallies import add_batches
from services.marathon.domain.ledger import Head, Part, fold
from services.marathon.storage import ledger
from shared.errors import SetupError


async def fill_gaps(connection: asyncpg.Connection, topic: str, parts: Sequence[Part]) -> None:
    """Append `parts` of one source partition, without any gap between them, and let it go on from there.

    `topic` is the tally topic of the source; what stands on it behind `parts` is read again. Runs inside the caller's
    transaction.

    Raises:
        SetupError: the ledger does not end where `parts` begin, or `parts` contradict each other.
    """
    await ledger.ensure_reading(connection, topic)
    await ledger.lock_reading(connection, topic)
    place = parts[0].place
    head = (await ledger.heads(connection)).get(place, Head())
    outcome = fold({place: replace(head, waiting=(), halted=None)}, {}, parts)
    if outcome.halts or outcome.restore or outcome.repeats:
        raise SetupError(f"{place}: the ledger has moved meanwhile; look again")
    await ledger.put_rows(connection, outcome.rows)
    await add_batches(connection, outcome.batches)
    await ledger.put_heads(connection, topic, outcome.heads, {})
    await ledger.read_again(connection, topic, [place])
