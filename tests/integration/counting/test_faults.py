"""Counting while processes die, freeze and compete for partitions, and while the log is wiped or trimmed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from services.petitions.consumers.counted import SIGNATURES
from shared.counting import dimension_ids
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.batch_plan import BatchPlan
from shared.counting.dimension_ids import Combination, DimensionIds
from shared.database import connected
from shared.errors import TransientError
from shared.kafka import assignments
from shared.kafka.isolation import MAX_SET_ASIDE
from shared.kafka.partitions import partition_of
from shared.kafka.positions import PositionLostError, advance, ensure_positions, read_position
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.topic_check import open_admin
from shared.metrics import LOOP_FAILURES
from tests.support.counting import PARTITIONS, CountingHarness, counting_harness, create_topics, key_of, signature
from tests.support.databases import change_schema
from tests.support.waiting import wait_until

GROUP_SECONDS = 10


@pytest.fixture
async def signatures(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[CountingHarness]:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as harness:
        yield harness


@contextmanager
def run_process(harness: CountingHarness, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a counter of `harness` in a process of its own."""
    counter = subprocess.Popen(
        [sys.executable, "-m", "tests.support.counter_process", harness.topic, *arguments],
        env={**os.environ, "DATABASE_URL": harness.database, "KAFKA_BOOTSTRAP_SERVERS": harness.kafka},
        cwd=PROJECT,
    )
    try:
        yield counter
    finally:
        if counter.poll() is None:
            counter.send_signal(signal.SIGCONT)
            counter.kill()
        counter.wait(10)


async def sign(harness: CountingHarness, people: range) -> None:
    """Publish signatures of `people`, each of them twice."""
    await harness.publish_all([("submitted", key_of(str(n)), signature(str(n))) for n in people for _ in range(2)])


async def assert_counted_once(harness: CountingHarness, people: int) -> None:
    """Check that `people` were counted once and published once."""
    assert len(await harness.rows()) == people
    batches = sorted(await harness.tallies(), key=lambda batch: (batch.partition, batch.first))
    assert (
        sum(delta.change for batch in {(b.partition, b.first): b for b in batches}.values() for delta in batch.deltas)
        == people
    )
    assert await harness.dead_letters() == []


async def count_rows(harness: CountingHarness) -> int:
    return int(await harness.pool.fetchval("SELECT count(*) FROM signatures"))


async def test_a_counter_killed_in_its_transaction_and_after_its_commit_counts_once(
    signatures: CountingHarness,
) -> None:
    await sign(signatures, range(300))
    # The transaction waits at this lock with its rows written and nothing committed.
    lock = await asyncpg.connect(signatures.database)
    await lock.execute("BEGIN")
    await lock.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
    with run_process(signatures, "--instance", "b") as counter:
        await signatures.wait_until(lambda: _waits(signatures))
        counter.send_signal(signal.SIGKILL)
        counter.wait(10)
    await lock.close()
    assert await count_rows(signatures) == 0
    with run_process(signatures, "--no-relay", "--instance", "b") as counter:
        await signatures.wait_until_counted()
        counter.send_signal(signal.SIGKILL)
    await signatures.count_all()
    await assert_counted_once(signatures, 300)


async def _waits(harness: CountingHarness) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass"
    return bool(await harness.pool.fetchval(query))


async def test_a_counter_killed_again_and_again_while_signatures_come_in_counts_each_once(
    signatures: CountingHarness,
) -> None:
    for turn in range(4):
        with run_process(signatures, "--instance", "a") as counter:
            seen = await count_rows(signatures)
            await sign(signatures, range(turn * 150, turn * 150 + 150))

            async def moved(seen: int = seen) -> bool:
                return await count_rows(signatures) > seen

            await signatures.wait_until(moved)
            counter.send_signal(signal.SIGKILL)
    await signatures.count_all()
    await assert_counted_once(signatures, 600)


async def test_a_frozen_counter_that_wakes_up_after_its_partitions_went_to_another_counts_nothing(
    signatures: CountingHarness,
) -> None:
    await sign(signatures, range(50))
    with run_process(signatures) as frozen:
        await signatures.wait_until_counted()
        frozen.send_signal(signal.SIGSTOP)
        await sign(signatures, range(50, 200))
        async with signatures.run_counter():
            await signatures.wait_until_counted()
            frozen.send_signal(signal.SIGCONT)
            await sign(signatures, range(200, 300))
            await signatures.wait_until_counted()
            await signatures.wait_until(signatures.outbox_empty)
    await assert_counted_once(signatures, 300)


async def test_whoever_has_lost_a_position_writes_nothing(signatures: CountingHarness) -> None:
    def batch(first: int, last: int) -> PartitionBatch:
        return PartitionBatch("t", 0, 0, [Record(offset, 1, b"k", b"v", b"\0") for offset in range(first, last + 1)])

    async with connected(signatures.pool) as connection:
        await ensure_positions(connection, "g", "t", 1)
        async with connection.transaction():
            await advance(connection, "g", [batch(0, 4)])
        for stale in (batch(0, 4), batch(3, 7), batch(6, 7)):
            with pytest.raises(PositionLostError):
                async with connection.transaction():
                    await advance(connection, "g", [stale])
        assert (await read_position(connection, "g", "t", 0)).next_offset == 5


async def test_two_members_share_the_partitions_and_one_takes_over_when_the_other_goes(
    signatures: CountingHarness,
) -> None:
    await sign(signatures, range(100))
    async with signatures.run_counter() as first:
        await signatures.wait_until_counted()
        async with signatures.run_counter() as second:

            async def shared() -> bool:
                return first.assigned_count() == second.assigned_count() == PARTITIONS // 2

            await signatures.wait_until(shared)
            await sign(signatures, range(100, 300))
            await signatures.wait_until_counted()
        await sign(signatures, range(300, 400))
        await signatures.wait_until_counted()
        await signatures.wait_until(signatures.outbox_empty)
        assert first.assigned_count() == PARTITIONS
    await assert_counted_once(signatures, 400)


async def test_a_log_that_was_wiped_halts_its_partitions_and_skips_nothing(signatures: CountingHarness) -> None:
    await sign(signatures, range(40))
    await signatures.count_all()
    before = await signatures.positions()
    await wipe(signatures)
    await assert_halts(signatures, "the log ends at 0, before the position")
    await sign(signatures, range(1000, 1400))
    await assert_halts(signatures, "is not the one that was counted")
    assert await signatures.positions() == before
    assert await count_rows(signatures) == 40


async def test_a_log_that_is_wiped_while_it_is_counted_halts_too(signatures: CountingHarness) -> None:
    await sign(signatures, range(40))
    async with signatures.run_counter() as loop:
        await signatures.wait_until_counted()
        before = await signatures.positions()
        await wipe(signatures)
        await sign(signatures, range(1000, 1400))

        async def halted() -> bool:
            return len(loop.missing()) == PARTITIONS

        await signatures.wait_until(halted)
    assert await signatures.positions() == before


async def wipe(harness: CountingHarness) -> None:
    """Create the topic again, with an empty log."""
    async with open_admin(harness.kafka) as admin:
        await admin.delete_topics([harness.topic])

    async def is_created() -> bool:
        try:
            await create_topics(harness.kafka, [harness.counted.topic])
        except AssertionError:
            return False
        return True

    await wait_until(is_created)


async def assert_halts(harness: CountingHarness, reason: str) -> None:
    """Check that a counter halts every partition for `reason`."""
    async with harness.run_counter() as loop:

        async def halted() -> bool:
            return len(loop.missing()) == PARTITIONS and "not assigned yet" not in loop.missing().values()

        await harness.wait_until(halted)
        assert all(reason in why for why in loop.missing().values()), loop.missing()


async def test_retention_up_to_the_position_is_no_reason_to_halt_and_beyond_it_is(signatures: CountingHarness) -> None:
    key = key_of("0")
    partition, _ = await signatures.publish("submitted", key, signature("0"))
    await signatures.count_all()
    await trim(signatures, partition, 1)
    await signatures.publish("submitted", key, signature("0"), partition=partition)
    await signatures.count_all()
    await signatures.publish("submitted", key, signature("0"), partition=partition)
    await trim(signatures, partition, 3)
    async with signatures.run_counter() as loop:

        async def halted() -> bool:
            return f"{signatures.counted.group} in {signatures.topic}/{partition}" in loop.missing()

        await signatures.wait_until(halted)
        assert len(loop.missing()) == 1
        other = next(n for n in range(100) if key_of(str(n))[7] % PARTITIONS != partition)
        await signatures.publish("submitted", key_of(str(other)), signature(str(other)))

        async def went_on() -> bool:
            return await count_rows(signatures) == 2

        await signatures.wait_until(went_on)


async def trim(harness: CountingHarness, partition: int, before: int) -> None:
    """Delete the records before an offset, as retention does."""
    async with open_admin(harness.kafka) as admin:
        tp = TopicPartition(harness.topic, partition)
        await admin.delete_records({tp: RecordsToDelete(before)})


async def test_a_record_that_ends_every_process_is_set_aside_and_the_rest_is_counted(
    signatures: CountingHarness,
) -> None:
    victim = key_of("victim")
    await sign(signatures, range(30))
    await signatures.publish("submitted", victim, signature("victim"))
    await sign(signatures, range(30, 60))
    async with connected(signatures.pool) as connection:
        await ensure_positions(connection, signatures.counted.group, signatures.topic, PARTITIONS)
        # As after three deaths of the whole batch: the records are taken one by one from now on.
        await connection.execute("UPDATE positions SET attempts = 3")
    deaths = 0
    while not await _all_counted(signatures):
        with run_process(signatures, "--instance", "only", "--die-of", victim.hex()) as counter:

            async def ended(counter: subprocess.Popen[bytes] = counter) -> bool:
                return counter.poll() is not None or await _all_counted(signatures)

            await signatures.wait_until(ended)
            deaths += counter.poll() is not None
    assert deaths == 2
    await signatures.count_all()
    assert [(reason, record.key) for reason, record in await signatures.dead_letters()] == [
        ("ends-the-process", victim)
    ]
    assert set(await signatures.rows()) == {key_of(str(person)) for person in range(60)}


async def _all_counted(harness: CountingHarness) -> bool:
    return await harness.positions() == await harness.end_offsets()


async def test_records_are_not_blamed_for_a_preparation_that_fails_around_them(
    platform: Endpoints, signatures: CountingHarness
) -> None:
    await sign(signatures, range(5))
    async with connected(signatures.pool) as connection:
        await ensure_positions(connection, signatures.counted.group, signatures.topic, PARTITIONS)
        # One more death, and the first record of each partition is set aside.
        await connection.execute("UPDATE positions SET attempts = 1, suspects_end = 100")
    await change_schema(platform, signatures.database, "ALTER TABLE dimensions RENAME TO elsewhere")
    with pytest.raises(TransientError, match="UndefinedTableError"):
        await signatures.create_loop().run()
    assert await count_rows(signatures) == 0
    await change_schema(platform, signatures.database, "ALTER TABLE elsewhere RENAME TO dimensions")
    await signatures.count_all()
    await assert_counted_once(signatures, 5)


@pytest.mark.parametrize("of_ours", [False, True], ids=["the database refuses it", "a bug of ours"])
async def test_a_record_that_raises_is_set_aside_within_the_process_and_the_rest_is_counted(
    platform: Endpoints,
    signatures: CountingHarness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    of_ours: bool,
) -> None:
    victim = key_of("victim")
    if of_ours:
        plan = BatchDecoder.plan

        async def buggy(self: BatchDecoder, batches: Sequence[PartitionBatch]) -> BatchPlan:
            if any(record.key == victim for batch in batches for record in batch.records):
                raise AttributeError(victim.hex())
            return await plan(self, batches)

        monkeypatch.setattr(BatchDecoder, "plan", buggy)
    else:
        refusal = f"ALTER TABLE signatures ADD CHECK (key <> '\\x{victim.hex()}')"
        await change_schema(platform, signatures.database, refusal)
    await sign(signatures, range(30))
    partition, offset = await signatures.publish("submitted", victim, signature("victim"))
    await sign(signatures, range(30, 60))
    await signatures.count_all()
    assert [(reason, record.key) for reason, record in await signatures.dead_letters()] == [("raises-an-error", victim)]
    assert set(await signatures.rows()) == {key_of(str(person)) for person in range(60)}
    assert await signatures.pool.fetchval("SELECT max(attempts) FROM positions") == 0
    printed = "".join(capsys.readouterr())
    error = "AttributeError" if of_ours else "CheckViolationError"
    (told,) = (line for line in printed.splitlines() if "record set aside" in line)
    said = (error, signatures.topic, f"partition={partition}", f"offset={offset}", "reason=raises-an-error")
    assert all(part in told for part in said)
    assert victim.hex() not in printed


async def test_code_that_cannot_write_any_record_halts_its_partition_and_empties_no_topic(
    platform: Endpoints, signatures: CountingHarness
) -> None:
    await sign(signatures, range(200))
    await change_schema(platform, signatures.database, "ALTER TABLE signatures ADD CHECK (partition <> 0)")
    ends = await signatures.end_offsets()
    async with signatures.run_counter() as loop:

        async def done() -> bool:
            return await signatures.positions() == {**ends, 0: MAX_SET_ASIDE} and len(loop.missing()) == 1

        await signatures.wait_until(done)
        halted = f"{signatures.counted.group} in {signatures.topic}/0"
        assert loop.missing() == {halted: f"the record at {MAX_SET_ASIDE} raises CheckViolationError"}
    others = {key for n in range(200) if partition_of(key := key_of(str(n)), PARTITIONS)}
    assert set(await signatures.rows()) == others


async def test_a_process_that_is_told_to_stop_leaves_no_mark_of_a_death(signatures: CountingHarness) -> None:
    await sign(signatures, range(20))
    lock = await asyncpg.connect(signatures.database)
    await lock.execute("BEGIN")
    # The preparation of the first batch waits at this lock.
    await lock.execute("LOCK TABLE dimensions IN ACCESS EXCLUSIVE MODE")

    async def marked() -> bool:
        return bool(await signatures.pool.fetchval("SELECT EXISTS (SELECT FROM positions WHERE attempts > 0)"))

    async with signatures.run_counter(relay=False):
        await signatures.wait_until(marked)
    await lock.close()
    assert not await marked()
    await signatures.count_all()
    await assert_counted_once(signatures, 20)


async def test_two_counters_that_meet_the_same_new_combinations_do_not_wait_for_each_other(
    signatures: CountingHarness,
) -> None:
    first, last = (Combination("w4r", case, "s", None, "signature", "web", "FR", "fr") for case in ("a", "z"))
    make = """
    INSERT INTO dimensions (campaign, "case", subject, section, kind, channel, country, language)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    """
    ids = DimensionIds(signatures.pool)
    async with connected(signatures.pool) as other:
        async with other.transaction():
            await other.execute(make, *first)
            ensuring = asyncio.create_task(ids.ensure([last, first]))

            async def waits() -> bool:
                return bool(await signatures.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await signatures.wait_until(waits)
            await other.execute(make, *last)
        await ensuring
    assert ids.ids.keys() == {first, last}


async def test_a_transaction_that_waits_does_not_hold_up_the_other_share_of_the_partitions(
    platform: Endpoints, signatures: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignments, "MIN_SPLIT_RECORDS", 1)
    await sign(signatures, range(200))
    ends = await signatures.end_offsets()
    await change_schema(
        platform,
        signatures.database,
        "CREATE FUNCTION wait() RETURNS trigger AS 'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END'"
        " LANGUAGE plpgsql",
    )
    await change_schema(
        platform,
        signatures.database,
        "CREATE TRIGGER waits BEFORE INSERT ON signatures FOR EACH ROW WHEN (NEW.partition = 0)"
        " EXECUTE FUNCTION wait()",
    )
    async with connected(signatures.pool) as other, signatures.run_counter():
        await other.execute("SELECT pg_advisory_lock(1)")

        async def half() -> bool:
            return await signatures.positions() == {0: 0, 1: ends[1], 2: 0, 3: ends[3]}

        try:
            await signatures.wait_until(half)
        finally:
            await other.execute("SELECT pg_advisory_unlock(1)")
        await signatures.wait_until_counted()
        await signatures.wait_until(signatures.outbox_empty)
    await assert_counted_once(signatures, 200)


async def test_a_share_that_fails_three_times_ends_the_process_although_the_other_is_counted(
    platform: Endpoints, signatures: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignments, "MIN_SPLIT_RECORDS", 1)
    await sign(signatures, range(200))
    await change_schema(
        platform,
        signatures.database,
        "CREATE FUNCTION refuse() RETURNS trigger AS 'BEGIN RAISE ''no''; END' LANGUAGE plpgsql",
    )
    await change_schema(
        platform,
        signatures.database,
        "CREATE TRIGGER refuses BEFORE INSERT ON signatures FOR EACH ROW WHEN (NEW.partition = 0)"
        " EXECUTE FUNCTION refuse()",
    )
    failures = LOOP_FAILURES.labels(signatures.counted.group, "RaiseError")
    before = failures._value.get()
    with pytest.raises(TransientError, match="RaiseError"):
        await signatures.create_loop().run()
    assert failures._value.get() - before == 3
    of_the_other = {key for n in range(200) if partition_of(key := key_of(str(n)), PARTITIONS) % 2}
    assert set(await signatures.rows()) == of_the_other


async def test_combinations_that_are_forgotten_while_others_are_asked_for_are_still_told(
    signatures: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = (Combination("w4r", case, "s", None, "signature", "web", "FR", "fr") for case in ("a", "z"))
    await DimensionIds(signatures.pool).ensure([first, last])
    ids = DimensionIds(signatures.pool)
    await ids.ensure([first])
    requested = {row["id"] for row in await signatures.pool.fetch("SELECT id FROM dimensions")}
    monkeypatch.setattr(dimension_ids, "MAX_COMBINATIONS", 0)
    async with connected(signatures.pool) as connection:
        lookup = asyncio.create_task(ids.combinations(connection, requested))
        await asyncio.sleep(0)
        ids.clear_if_full()
        assert set((await lookup).values()) == {first, last}


async def test_a_topic_whose_partition_count_changed_is_refused(signatures: CountingHarness) -> None:
    await signatures.count_all()
    async with connected(signatures.pool) as connection:
        with pytest.raises(Exception, match="partitions"):
            await ensure_positions(connection, signatures.counted.group, signatures.topic, PARTITIONS + 1)
        await connection.execute("DELETE FROM positions WHERE partition = 1")
        with pytest.raises(Exception, match="partitions"):
            await ensure_positions(connection, signatures.counted.group, signatures.topic, PARTITIONS)
