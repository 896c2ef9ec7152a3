"""Counting while processes die, freeze and fight over partitions, and while the log is not what it was."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from services.petitions.consumers import SIGNATURES
from shared.counting import dimension_ids
from shared.counting.dimension_ids import Combination, DimensionIds
from shared.database import connected
from shared.errors import TransientError
from shared.kafka import assignments
from shared.kafka.partitions import partition_of
from shared.kafka.positions import PositionLostError, advance, ensure_positions, read_position
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.topic_check import administrator
from shared.metrics import LOOP_FAILURES
from tests.support.counting import PARTITIONS, World, create_topics, key_of, signature, world

GROUP_SECONDS = 10


@pytest.fixture
async def signatures(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[World]:
    async with world(SIGNATURES, await make_database("petitions"), platform["kafka"]) as made:
        yield made


@contextmanager
def process(made: World, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A counter of `made` in a process of its own."""
    counter = subprocess.Popen(
        [sys.executable, "-m", "tests.support.counter_process", made.topic, *arguments],
        env={**os.environ, "DATABASE_URL": made.database, "KAFKA_BOOTSTRAP_SERVERS": made.kafka},
        cwd=PROJECT,
    )
    try:
        yield counter
    finally:
        if counter.poll() is None:
            counter.send_signal(signal.SIGCONT)
            counter.kill()
        counter.wait(10)


async def sign(made: World, people: range) -> None:
    """Signatures of `people`, each of them twice."""
    await made.say_all([("submitted", key_of(str(n)), signature(str(n))) for n in people for _ in range(2)])


async def counted_once(made: World, people: int) -> None:
    """Check that `people` were counted once and told once."""
    assert len(await made.rows()) == people
    batches = sorted(await made.tallies(), key=lambda batch: (batch.partition, batch.first))
    assert (
        sum(delta.change for batch in {(b.partition, b.first): b for b in batches}.values() for delta in batch.deltas)
        == people
    )
    assert await made.letters() == []


async def rows(made: World) -> int:
    return int(await made.pool.fetchval("SELECT count(*) FROM signatures"))


async def test_a_counter_killed_in_its_transaction_and_after_its_commit_counts_once(signatures: World) -> None:
    await sign(signatures, range(300))
    # The transaction waits at this lock with its rows written and nothing committed.
    lock = await asyncpg.connect(signatures.database)
    await lock.execute("BEGIN")
    await lock.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
    with process(signatures, "--instance", "b") as counter:
        await signatures.until(lambda: _waits(signatures))
        counter.send_signal(signal.SIGKILL)
        counter.wait(10)
    await lock.close()
    assert await rows(signatures) == 0
    with process(signatures, "--no-relay", "--instance", "b") as counter:
        await signatures.until_counted()
        counter.send_signal(signal.SIGKILL)
    await signatures.count()
    await counted_once(signatures, 300)


async def _waits(made: World) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass"
    return bool(await made.pool.fetchval(waiting))


async def test_a_counter_killed_again_and_again_while_signatures_come_in_counts_each_once(signatures: World) -> None:
    for turn in range(4):
        with process(signatures, "--instance", "a") as counter:
            seen = await rows(signatures)
            await sign(signatures, range(turn * 150, turn * 150 + 150))

            async def moved(seen: int = seen) -> bool:
                return await rows(signatures) > seen

            await signatures.until(moved)
            counter.send_signal(signal.SIGKILL)
    await signatures.count()
    await counted_once(signatures, 600)


async def test_a_frozen_counter_that_wakes_up_after_its_partitions_went_to_another_counts_nothing(
    signatures: World,
) -> None:
    await sign(signatures, range(50))
    with process(signatures) as frozen:
        await signatures.until_counted()
        frozen.send_signal(signal.SIGSTOP)
        await sign(signatures, range(50, 200))
        async with signatures.counting():
            await signatures.until_counted()
            frozen.send_signal(signal.SIGCONT)
            await sign(signatures, range(200, 300))
            await signatures.until_counted()
            await signatures.until(signatures.told)
    await counted_once(signatures, 300)


async def test_whoever_has_lost_a_position_writes_nothing(signatures: World) -> None:
    def batch(first: int, last: int) -> PartitionBatch:
        return PartitionBatch("t", 0, 0, [Record(offset, 1, b"k", b"v", b"\0") for offset in range(first, last + 1)])

    async with connected(signatures.pool) as connection:
        await ensure_positions(connection, "t", 1)
        async with connection.transaction():
            await advance(connection, [batch(0, 4)], [0])
        for stale in (batch(0, 4), batch(3, 7), batch(6, 7)):
            with pytest.raises(PositionLostError):
                async with connection.transaction():
                    await advance(connection, [stale], [0])
        assert (await read_position(connection, "t", 0)).next == 5


async def test_two_members_share_the_partitions_and_one_takes_over_when_the_other_goes(signatures: World) -> None:
    await sign(signatures, range(100))
    async with signatures.counting() as first:
        await signatures.until_counted()
        async with signatures.counting() as second:

            async def shared() -> bool:
                return first.assigned() == second.assigned() == PARTITIONS // 2

            await signatures.until(shared)
            await sign(signatures, range(100, 300))
            await signatures.until_counted()
        await sign(signatures, range(300, 400))
        await signatures.until_counted()
        await signatures.until(signatures.told)
        assert first.assigned() == PARTITIONS
    await counted_once(signatures, 400)


async def test_a_log_that_was_wiped_halts_its_partitions_and_skips_nothing(signatures: World) -> None:
    await sign(signatures, range(40))
    await signatures.count()
    before = await signatures.positions()
    await wipe(signatures)
    await halts(signatures, "the log ends at 0, before the position")
    await sign(signatures, range(1000, 1400))
    await halts(signatures, "is not the one that was counted")
    assert await signatures.positions() == before
    assert await rows(signatures) == 40


async def test_a_log_that_is_wiped_while_it_is_counted_halts_too(signatures: World) -> None:
    await sign(signatures, range(40))
    async with signatures.counting() as loop:
        await signatures.until_counted()
        before = await signatures.positions()
        await wipe(signatures)
        await sign(signatures, range(1000, 1400))

        async def halted() -> bool:
            return len(loop.missing()) == PARTITIONS

        await signatures.until(halted)
    assert await signatures.positions() == before


async def wipe(made: World) -> None:
    """Give the topic an empty log."""
    async with administrator(made.kafka) as admin:
        await admin.delete_topics([made.topic])
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        try:
            await create_topics(made.kafka, [made.counted.topic])
        except AssertionError:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.2)
        else:
            return


async def halts(made: World, reason: str) -> None:
    """Check that a counter halts every partition for `reason`."""
    async with made.counting() as loop:

        async def halted() -> bool:
            return len(loop.missing()) == PARTITIONS and "not assigned yet" not in loop.missing().values()

        await made.until(halted)
        assert all(reason in why for why in loop.missing().values()), loop.missing()


async def test_retention_up_to_the_position_is_no_reason_to_halt_and_beyond_it_is(signatures: World) -> None:
    key = key_of("0")
    partition, _ = await signatures.say("submitted", key, signature("0"))
    await signatures.count()
    await trim(signatures, partition, 1)
    await signatures.say("submitted", key, signature("0"), partition=partition)
    await signatures.count()
    await signatures.say("submitted", key, signature("0"), partition=partition)
    await trim(signatures, partition, 3)
    async with signatures.counting() as loop:

        async def halted() -> bool:
            return f"{signatures.topic}/{partition}" in loop.missing()

        await signatures.until(halted)
        assert len(loop.missing()) == 1
        other = next(n for n in range(100) if key_of(str(n))[7] % PARTITIONS != partition)
        await signatures.say("submitted", key_of(str(other)), signature(str(other)))

        async def went_on() -> bool:
            return await rows(signatures) == 2

        await signatures.until(went_on)


async def trim(made: World, partition: int, before: int) -> None:
    """Delete what stands before an offset, as retention does."""
    async with administrator(made.kafka) as admin:
        tp = TopicPartition(made.topic, partition)
        await admin.delete_records({tp: RecordsToDelete(before)})


async def test_a_record_that_ends_every_process_is_set_aside_and_the_rest_is_counted(signatures: World) -> None:
    victim = key_of("victim")
    await sign(signatures, range(30))
    await signatures.say("submitted", victim, signature("victim"))
    await sign(signatures, range(30, 60))
    async with connected(signatures.pool) as connection:
        await ensure_positions(connection, signatures.topic, PARTITIONS)
        # As after five deaths of the whole batch: the records are taken ten at a time by now.
        await connection.execute("UPDATE positions SET attempts = 5")
    deaths = 0
    while not await _all_counted(signatures):
        with process(signatures, "--instance", "only", "--die-of", victim.hex()) as counter:

            async def ended(counter: subprocess.Popen[bytes] = counter) -> bool:
                return counter.poll() is not None or await _all_counted(signatures)

            await signatures.until(ended)
            deaths += counter.poll() is not None
    assert deaths == 4
    await signatures.count()
    assert [(reason, record.key) for reason, record in await signatures.letters()] == [("ends-the-process", victim)]
    assert set(await signatures.rows()) == {key_of(str(person)) for person in range(60)}


async def _all_counted(made: World) -> bool:
    return await made.positions() == await made.ends()


async def test_records_are_not_blamed_for_a_preparation_that_fails_around_them(signatures: World) -> None:
    await sign(signatures, range(5))
    async with connected(signatures.pool) as connection:
        await ensure_positions(connection, signatures.topic, PARTITIONS)
        # One more death, and the first record of each partition is set aside.
        await connection.execute("UPDATE positions SET attempts = 8, stuck = 2")
        await connection.execute("ALTER TABLE dimensions RENAME TO elsewhere")
    with pytest.raises(TransientError, match="UndefinedTableError"):
        await signatures.loop().run()
    assert await rows(signatures) == 0
    await signatures.pool.execute("ALTER TABLE elsewhere RENAME TO dimensions")
    await signatures.count()
    await counted_once(signatures, 5)


async def test_two_counters_that_meet_the_same_new_combinations_do_not_wait_for_each_other(signatures: World) -> None:
    first, last = (Combination("w4r", case, "s", None, "signature", "web", "FR", "fr") for case in ("a", "z"))
    make = """
    INSERT INTO dimensions (campaign, "case", subject, section, kind, channel, country, language)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    """
    interned = DimensionIds(signatures.pool)
    async with connected(signatures.pool) as other:
        async with other.transaction():
            await other.execute(make, *first)
            interning = asyncio.create_task(interned.ensure([last, first]))

            async def waits() -> bool:
                return bool(await signatures.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await signatures.until(waits)
            await other.execute(make, *last)
        await interning
    assert interned.ids.keys() == {first, last}


async def test_a_transaction_that_waits_does_not_hold_up_the_other_share_of_the_partitions(
    signatures: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignments, "MUCH", 1)
    await sign(signatures, range(200))
    ends = await signatures.ends()
    await signatures.pool.execute(
        "CREATE FUNCTION wait() RETURNS trigger AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END'"
        " LANGUAGE plpgsql"
    )
    await signatures.pool.execute(
        "CREATE TRIGGER waits BEFORE INSERT ON signatures FOR EACH ROW WHEN (NEW.partition = 0) EXECUTE FUNCTION wait()"
    )
    async with connected(signatures.pool) as other, signatures.counting():
        await other.execute("SELECT pg_advisory_lock(1)")

        async def half() -> bool:
            return await signatures.positions() == {0: 0, 1: ends[1], 2: 0, 3: ends[3]}

        try:
            await signatures.until(half)
        finally:
            await other.execute("SELECT pg_advisory_unlock(1)")
        await signatures.until_counted()
        await signatures.until(signatures.told)
    await counted_once(signatures, 200)


async def test_a_share_that_fails_three_times_ends_the_process_although_the_other_is_counted(
    signatures: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignments, "MUCH", 1)
    await sign(signatures, range(200))
    await signatures.pool.execute("ALTER TABLE signatures ADD CHECK (partition <> 0)")
    failures = LOOP_FAILURES.labels("CheckViolationError")
    before = failures._value.get()
    with pytest.raises(TransientError, match="CheckViolationError"):
        await signatures.loop().run()
    assert failures._value.get() - before == 3
    of_the_other = {key for n in range(200) if partition_of(key := key_of(str(n)), PARTITIONS) % 2}
    assert set(await signatures.rows()) == of_the_other


async def test_combinations_that_are_forgotten_while_others_are_asked_for_are_still_told(
    signatures: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = (Combination("w4r", case, "s", None, "signature", "web", "FR", "fr") for case in ("a", "z"))
    await DimensionIds(signatures.pool).ensure([first, last])
    interned = DimensionIds(signatures.pool)
    await interned.ensure([first])
    asked = {row["id"] for row in await signatures.pool.fetch("SELECT id FROM dimensions")}
    monkeypatch.setattr(dimension_ids, "MAX_COMBINATIONS", 0)
    async with connected(signatures.pool) as connection:
        telling = asyncio.create_task(interned.combinations(connection, asked))
        await asyncio.sleep(0)
        interned.clear_if_full()
        assert set((await telling).values()) == {first, last}


async def test_a_topic_whose_partition_count_changed_is_refused(signatures: World) -> None:
    await signatures.count()
    async with connected(signatures.pool) as connection:
        with pytest.raises(Exception, match="partitions"):
            await ensure_positions(connection, signatures.topic, PARTITIONS + 1)
        await connection.execute("DELETE FROM positions WHERE partition = 1")
        with pytest.raises(Exception, match="partitions"):
            await ensure_positions(connection, signatures.topic, PARTITIONS)
