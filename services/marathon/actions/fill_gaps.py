"""Fill gaps in the ledger of a source partition in one transaction, at an operator's decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from services.marathon.actions.apply_tallies import add_batches
from services.marathon.domain.ledger import ChainHead, Part, fold
from services.marathon.storage import ledger
from shared.errors import SetupError


async def fill_gaps(connection: asyncpg.Connection, topic: str, parts: Sequence[Part]) -> None:
    """Append `parts` of one source partition, which have no gap between them, and resume the source after them.

    `topic` is the tally topic of the source; records on it after `parts` are read again. Runs inside the caller's
    transaction.

    Raises:
        SetupError: the ledger does not end where `parts` begin, or `parts` contradict each other.
    """
    await ledger.ensure_position(connection, topic)
    await ledger.lock_position(connection, topic)
    source = parts[0].source
    head = (await ledger.heads(connection)).get(source, ChainHead())
    outcome = fold({source: replace(head, pending=(), halt_reason=None)}, {}, parts)
    if outcome.halt_offsets or outcome.restore or outcome.repeats:
        raise SetupError(f"{source}: the ledger has moved meanwhile; look again")
    await ledger.put_rows(connection, outcome.rows)
    await add_batches(connection, outcome.batches)
    await ledger.put_heads(connection, topic, outcome.heads, {})
    await ledger.rewind_to_halts(connection, topic, [source])
