"""Dead letters: which there are, and what an operator does with them: put them back, or dismiss them for good.

A dismissal stands in the trail of recoveries of the topic's owner. It holds for refusals up to its time: a record that
is refused after it is a dead letter again.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import asyncpg

from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from deploy.recovery.counted_topics import COUNTED_TOPICS
from shared.clock import SystemClock, parse_rfc3339, utc
from shared.kafka.records import Record
from shared.kafka.redrive import (
    DeadLetterRecord,
    LetterId,
    list_dead_letters,
    read_applied,
    read_put_back,
    redrive,
)
from shared.kafka.subscription_positions import read_positions
from shared.recoveries import Recovery, read_recoveries, record_recovery
from shared.topics import Topic, dead_letter_name

NO_RECORD: Final = Record(0, 0, None, None, b"")
DISMISSAL: Final = "dlq dismiss"
WAITING: Final = "waiting"
APPLIED: Final = "counted since"
DISMISSED: Final = "dismissed"
READ_TIMEOUT_S: Final = 15.0
POLL_S: Final = 0.2


class FoundLetter(NamedTuple):
    """A dead letter of `topic`. `state` is `WAITING`, `APPLIED` or `DISMISSED`, which `why` explains."""

    topic: Topic
    letter: DeadLetterRecord
    state: str
    why: str = ""

    @property
    def place(self) -> str:
        """Where the record stood first: topic, partition, offset."""
        return f"{self.topic.name}/{self.letter.partition}/{self.letter.offset}"


class Redriven(NamedTuple):
    """What became of letters that were put back: `sent` of them travelled, `refused_again` were refused once more, and
    `unread` were not read by their group within a quarter of a minute.
    """

    sent: int
    refused_again: Sequence[FoundLetter]
    unread: int


async def read_letters(at: Endpoints, topic: Topic, *, with_records: bool = False) -> list[FoundLetter]:
    """Read the dead letters of `topic`, each once under the reason of its last refusal; without keys, values and
    headers unless `with_records`.

    Raises:
        SetupError, KafkaError, OSError, asyncpg.PostgresError: they cannot be read.
    """
    by_id = await _read_records(at, topic, with_records=with_records)
    counters = {counted.group for counted in COUNTED_TOPICS}
    others = [letter for letter in by_id.values() if letter.group not in counters]
    async with connect(at["databases"][topic.owner]) as connection:
        applied = await _read_applied(connection, topic)
        dismissals = {
            recovery.place: (moment, recovery.reason)
            for moment, recovery in await read_recoveries(connection)
            if recovery.what == DISMISSAL
        }
    applied |= await read_put_back(at["kafka"], topic.name, others)
    found = []
    for id_, letter in by_id.items():
        moment, why = dismissals.get(_dismissed_place(topic, letter), (None, ""))
        if moment is not None and utc(parse_rfc3339(letter.refused_at)) <= moment:
            found.append(FoundLetter(topic, letter, DISMISSED, why))
        else:
            found.append(FoundLetter(topic, letter, APPLIED if id_ in applied else WAITING))
    return found


async def dismiss(at: Endpoints, found: FoundLetter, why: str) -> None:
    """Record that nothing is to be done about a dead letter any more, and `why`."""
    letter = found.letter
    recovery = Recovery(DISMISSAL, _dismissed_place(found.topic, letter), f"refused: {letter.reason}", DISMISSED, why)
    # The broker's clock may be ahead of ours.
    now = max(SystemClock().now(), parse_rfc3339(letter.refused_at))
    async with connect(at["databases"][found.topic.owner]) as connection:
        await record_recovery(connection, recovery, now)


async def put_back(at: Endpoints, topic: Topic, letters: Collection[DeadLetterRecord]) -> Redriven:
    """Put `letters` back on `topic`, wait until their groups have read them, and say which were refused again."""
    copies = await redrive(at["kafka"], topic.name, letters)
    deadline = time.monotonic() + READ_TIMEOUT_S
    while (unread := await _unread(at, topic, copies)) and time.monotonic() < deadline:  # noqa: ASYNC110  positions are silent
        await asyncio.sleep(POLL_S)
    latest = await _read_records(at, topic, with_records=False) if copies else {}
    again = {id_ for id_, letter in latest.items() if id_ in copies and letter.refused_offset >= copies[id_]}
    refused_again = [FoundLetter(topic, latest[id_], WAITING) for id_ in sorted(again)]
    return Redriven(len(copies), refused_again, len(unread - again))


_HAS_OUTBOX: Final = "SELECT EXISTS (SELECT FROM outbox WHERE topic = $1)"


async def _unread(at: Endpoints, topic: Topic, copies: Mapping[LetterId, int]) -> set[LetterId]:
    """Return those of `copies` of which it is not known yet what their groups make of them."""
    by_group: defaultdict[str, set[LetterId]] = defaultdict(set)
    for id_ in copies:
        by_group[id_[0]].add(id_)
    unread: set[LetterId] = set()
    for group, ids in by_group.items():
        if (url := at["databases"].get(group.partition(".")[0])) is None:
            unread |= ids
            continue
        async with connect(url) as connection:
            stored = {(tp.topic, tp.partition): each for tp, each in (await read_positions(connection, group)).items()}
            places = {id_: stored.get((topic.name, id_[1])) for id_ in ids}
            # What was refused again is told through the outbox.
            if await connection.fetchval(_HAS_OUTBOX, dead_letter_name(topic.name)):
                unread |= ids
        unread |= {id_ for id_, place in places.items() if place is None or place.next_offset <= copies[id_]}
    return unread


async def _read_records(at: Endpoints, topic: Topic, *, with_records: bool) -> dict[LetterId, DeadLetterRecord]:
    by_id: dict[LetterId, DeadLetterRecord] = {}
    async with aclosing(list_dead_letters(at["kafka"], topic.name)) as letters:
        async for letter in letters:
            by_id[letter.id] = letter if with_records else letter._replace(record=NO_RECORD)
    return by_id


async def _read_applied(connection: asyncpg.Connection, topic: Topic) -> set[LetterId]:
    """Read which dead letters the counter of `topic` has counted since, where it is a counted one."""
    groups = [counted.group for counted in COUNTED_TOPICS if counted.topic == topic]
    origins = await read_applied(connection, topic.name) if groups else set()
    return {(group, *origin) for group in groups for origin in origins}


def _dismissed_place(topic: Topic, letter: DeadLetterRecord) -> str:
    """Name a refusal in the trail: the same record may be refused by several groups."""
    return f"{topic.name}/{letter.partition}/{letter.offset} for {letter.group}"
