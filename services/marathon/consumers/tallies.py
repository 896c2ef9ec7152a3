"""Apply tally batches to the ledger as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import asyncpg

from services.marathon.actions.apply_tallies import ApplyResult, TallyRecords, apply_tallies
from services.marathon.domain.ledger import Part, has_valid_source
from services.marathon.storage import ledger
from shared import topics
from shared.events.tallies import ActionsCounted
from shared.kafka.subscription import AfterCommit, Delivery, Event, Subscription
from shared.logging import log
from shared.metrics import LEDGER_BATCHES, LEDGER_HALTED
from shared.topics import Topic

TOPICS: Final = (topics.PETITIONS_TALLIES, topics.LETTERS_TALLIES)
GROUP: Final = "marathon.apply-tallies"


def tally_subscription(
    ledger_key: bytes, *, tally_topics: Sequence[Topic] = TOPICS, group: str = GROUP
) -> Subscription:
    """Return the subscription to `tally_topics`, which have one partition each; rows are salted by `ledger_key`.

    Nothing is skipped: what cannot be applied halts its source partition in the ledger, and at every start halted
    source partitions are read again from the part that halted them.
    """
    subscription = Subscription(group=group, name="tally batches")
    subscription.prepare = partial(ledger.resume_halted, consumer_group=group)
    subscription.examine = _halted_sources

    @subscription.batch(ActionsCounted, *tally_topics)
    async def apply(connection: asyncpg.Connection, deliveries: Sequence[Delivery[ActionsCounted]]) -> AfterCommit:
        records = _tally_records(deliveries)
        return partial(_report, records.topic, await apply_tallies(connection, records, ledger_key))

    return subscription


async def _halted_sources(connection: asyncpg.Connection) -> Mapping[str, str]:
    halted = {
        str(source): f"halted: {head.halt_reason}"
        for source, head in (await ledger.heads(connection)).items()
        if head.halt_reason
    }
    LEDGER_HALTED.set(len(halted))
    return halted


def _tally_records(deliveries: Sequence[Delivery[ActionsCounted]]) -> TallyRecords:
    records = TallyRecords(deliveries[0].topic)
    for delivery in deliveries:
        record = delivery.record
        if isinstance(delivery, Event) and has_valid_source(delivery.data):
            records.parts.append(Part.of(record.offset, delivery.data, record.value or b""))
        else:
            records.unreadable.append(record.offset)
    return records


def _report(topic: str, result: ApplyResult) -> None:
    LEDGER_BATCHES.labels("added").inc(result.rows)
    LEDGER_BATCHES.labels("repeated").inc(result.repeats)
    for source, reason in result.halt_reasons.items():
        log.error("source halted: what it tells contradicts the ledger", source=str(source), reason=reason, topic=topic)
