"""Fill gaps in the ledger of a source partition in one transaction, at an operator's decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from services.marathon.actions.apply_tallies import add_batches
from services.marathon.domain.ledger import ChainHead, Part, fold
from services.marathon.storage import ledger
from shared.errors import SetupError
from shared.kafka.positions import ensure_positions
from shared.kafka.subscription_positions import lock_position


async def fill_gaps(
    connection: asyncpg.Connection, consumer_group: str, topic: str, parts: Sequence[Part], ledger_key: bytes
) -> None:
    """Append `parts` of one source partition, which have no gap between them, and resume the source after them.

    `topic` is the tally topic of the source, which `consumer_group` reads; records on it after `parts` are read again.
    Runs inside the caller's transaction.

    Raises:
        SetupError: the ledger does not end where `parts` begin, or `parts` contradict each other.
    """
    await ensure_positions(connection, consumer_group, topic, 1)
    await lock_position(connection, consumer_group, topic, 0)
    source = parts[0].source
    head = (await ledger.heads(connection)).get(source, ChainHead())
    outcome = fold({source: replace(head, pending=(), halt_reason=None)}, {}, parts, ledger_key)
    if outcome.halt_offsets or outcome.restore or outcome.repeats:
        raise SetupError(f"{source}: the ledger has moved meanwhile; look again")
    await ledger.put_rows(connection, outcome.rows)
    await add_batches(connection, outcome.batches)
    await ledger.put_heads(connection, topic, outcome.heads, {})
    await ledger.rewind_to_halts(connection, consumer_group, topic, [source])
