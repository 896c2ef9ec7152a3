"""What can be taken out of a counter."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

from tests.faults.sabotage.registry import patch, sabotage

_MOVE = "UPDATE positions SET next = $4, digest = NULL WHERE consumer_group = $1 AND topic = $2 AND partition = $3"


@sabotage
def position_before_rows() -> None:
    """The counter commits its position before the rows, as one that lets Kafka keep its offsets would."""
    from shared.database import connected
    from shared.kafka.loop import PositionedLoop
    from shared.kafka.positions import advance

    async def write(self: Any, batches: Any, prepared: Any) -> None:
        async with connected(self._pool) as connection, connection.transaction():
            await advance(connection, self._group, batches)
        await asyncio.sleep(0.3)
        async with connected(self._pool) as connection, connection.transaction():
            await self._handle(connection, prepared)
        self._on_committed(prepared)

    patch(PositionedLoop, "_write", write)


@sabotage
def compare_and_set() -> None:
    """The counter moves positions wherever they stand."""
    from shared.kafka import positions

    checked = positions._ADVANCE
    unchecked = checked.replace(" AND positions.next = moves.first", "")
    assert unchecked != checked
    patch(positions, "_ADVANCE", unchecked)


@sabotage
def starts_at_the_end() -> None:
    """The counter places a partition at the end of its log, as a group without offsets would."""
    from shared.kafka.assignments import Assignments

    place = Assignments.seek_to_positions

    async def at_the_end(self: Any, connection: Any, partitions: Any) -> None:
        ends = await self.consumer.end_offsets(partitions)
        for tp, end in ends.items():
            await connection.execute(
                _MOVE,
                self.group,
                tp.topic,
                tp.partition,
                end,
            )
        await place(self, connection, partitions)

    patch(Assignments, "seek_to_positions", at_the_end)


@sabotage
def trusts_kafka_offsets() -> None:
    """The counter begins where Kafka says that its group is."""
    from shared.kafka.assignments import Assignments

    compare_and_set()
    place = Assignments.seek_to_positions

    async def trusting(self: Any, connection: Any, partitions: Any) -> None:
        for tp in partitions:
            await connection.execute(
                _MOVE,
                self.group,
                tp.topic,
                tp.partition,
                await self.consumer.committed(tp) or 0,
            )
        await place(self, connection, partitions)

    patch(Assignments, "seek_to_positions", trusting)


@sabotage
def trusts_any_log() -> None:
    """The counter goes on with whatever log it finds, from its start if need be."""
    from shared.kafka.assignments import Assignments

    place = Assignments.seek_to_positions

    async def trusting(self: Any, connection: Any, partitions: Any) -> None:
        ends = await self.consumer.end_offsets(partitions)
        starts = await self.consumer.beginning_offsets(partitions)
        for tp in partitions:
            await connection.execute(
                "UPDATE positions SET digest = NULL, next = CASE WHEN next BETWEEN $4 AND $5 THEN next ELSE $4 END"
                " WHERE consumer_group = $1 AND topic = $2 AND partition = $3",
                self.group,
                tp.topic,
                tp.partition,
                starts[tp],
                ends[tp],
            )
        await place(self, connection, partitions)

    patch(Assignments, "seek_to_positions", trusting)


@sabotage
def gives_up_in_silence() -> None:
    """The counter's loop stops at the first error and nobody watches over it; its process lives on."""
    from shared.kafka import lag, loop
    from shared.kafka.fetcher import Fetcher

    async def forever(*_: object) -> None:
        await asyncio.Event().wait()

    patch(loop.PositionedLoop, "_reset_after_failure", forever)
    patch(lag.LagWatch, "run", forever)
    patch(loop, "wait_out_outages", _once)

    async def ask(self: Any, node: int, places: Any) -> Any:
        # Nothing at all, not even that there is nothing new, comes of a request that failed.
        found = await asked(self, node, places)
        if not found:
            await forever()
        return found

    asked = Fetcher._fetch
    patch(Fetcher, "_fetch", ask)


@sabotage
def asks_for_nothing() -> None:
    """The counter fetches by itself and never asks its group's consumer for records."""
    from aiokafka import AIOKafkaConsumer

    async def nothing(*_: object, **__: object) -> dict[Any, Any]:
        return {}

    patch(AIOKafkaConsumer, "getmany", nothing)


async def _once(attempt: Callable[[], Any]) -> None:
    try:
        await attempt()
    except Exception:  # noqa: BLE001  whatever it was
        await asyncio.Event().wait()


@sabotage
def places_once() -> None:
    """The counter places a partition once in its life, and reads no further once that place is forgotten."""
    from shared.kafka.assignments import Assignments

    unplaced = Assignments.partitions_to_seek
    known: set[Any] = set()

    def once(self: Any) -> list[Any]:
        found = [tp for tp in unplaced(self) if tp not in known]
        known.update(found)
        return found

    patch(Assignments, "partitions_to_seek", once)


@sabotage
def hot_row() -> None:
    """The counter adds to two rows that every counter adds to, now the one first, now the other."""
    from shared.counting.counter import TopicCounter

    apply = TopicCounter.apply
    make = (
        'INSERT INTO dead_letters (topic, partition, "offset", key, reason) VALUES'
        " ('hot', 0, 1, '', ''), ('hot', 0, 2, '', '') ON CONFLICT DO NOTHING"
    )

    async def naive(self: Any, connection: Any, work: Any) -> None:
        await apply(self, connection, work)
        await connection.execute(make)
        for number in random.sample((1, 2), 2):
            await connection.execute(
                "UPDATE dead_letters SET superseded = NOT superseded WHERE topic = 'hot' AND \"offset\" = $1", number
            )
            await asyncio.sleep(0.05)

    patch(TopicCounter, "apply", naive)


@sabotage
def no_watchdog() -> None:
    """Nobody notices that the event loop stands still."""
    from shared.http import service

    patch(service, "watch_event_loop", contextlib.nullcontext)


@sabotage
def deletes_before_sending() -> None:
    """The relay of the outbox deletes what it is about to send."""
    from shared.kafka import outbox

    async def hasty(_self: Any, connection: Any, producer: Any) -> bool:
        rows = await connection.fetch(outbox._NEXT, outbox.MAX_ROWS, outbox.MAX_BYTES)
        await connection.execute(outbox._DELETE, [row["id"] for row in rows])
        await asyncio.sleep(0.3)
        if rows:
            await outbox._publish(producer, outbox._build_batches(producer, rows))
        return bool(rows)

    patch(outbox.OutboxRelay, "_relay_next", hasty)
