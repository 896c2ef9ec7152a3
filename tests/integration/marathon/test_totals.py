"""Publishing totals with a real database and a real broker's end offsets: versions, freshness, freezing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from deploy.audit import ledger as audited
from deploy.local.endpoints import Endpoints
from services.marathon.actions import publish_totals
from services.marathon.actions.apply_tallies import TallyRecords, add_batches, apply_tallies
from services.marathon.actions.import_campaign import import_campaign
from services.marathon.actions.publish_totals import Publisher
from services.marathon.actions.put_back import freeze_again, put_back
from services.marathon.consumers.end_offsets import EndOffsetReader
from services.marathon.consumers.tallies import GROUP
from services.marathon.domain.campaign_file import CampaignFileError
from services.marathon.domain.freshness import EndOffsets
from services.marathon.domain.history import points
from services.marathon.domain.ledger import Part, fold
from services.marathon.storage import cells, ledger
from shared import topics
from shared.clock import parse_rfc3339, rfc3339
from shared.database import connected
from shared.errors import TransientError
from shared.events.marathon import Correction, Policies, TotalsChanged
from shared.events.tallies import ActionsCounted, Delta
from tests.support.campaign_files import Wrapper, campaign_file
from tests.support.clock import ManualClock
from tests.support.tallies import LEDGER_KEY, Chain, delta, pool_on
from tests.support.waiting import wait_until

MakeDatabase = Callable[[str], Awaitable[str]]
MakeTopic = Callable[..., Awaitable[str]]
NOON = parse_rfc3339("2026-12-01T12:00:00Z")
CLOSED = parse_rfc3339("2027-01-08T00:00:00Z")
EXACT = {"public_threshold": 1}


class ClockedEndOffsets:
    """A real broker's end offsets, dated by a clock that the test sets."""

    def __init__(self, ends: EndOffsetReader, clock: ManualClock) -> None:
        self._ends = ends
        self._clock = clock

    async def read(self) -> EndOffsets:
        read_at = self._clock.now()
        return replace(await self._ends.read(), read_at=read_at)


class Marathon:
    """A campaign, a counted topic of one partition, and publishers of its totals."""

    def __init__(self, pool: asyncpg.Pool, servers: str, topic: str, producer: AIOKafkaProducer) -> None:
        self.pool = pool
        self.clock = ManualClock(NOON)
        self.chain = Chain(source=topic)
        self.ends: list[EndOffsetReader] = []
        self._servers = servers
        self._producer = producer
        self._applied = 0

    def publisher(self) -> Publisher:
        return Publisher(self.pool, ClockedEndOffsets(self.end_offsets(), self.clock).read)

    def end_offsets(self) -> EndOffsetReader:
        ends = EndOffsetReader(self._servers, {self.chain.source: 1})
        self.ends.append(ends)
        return ends

    async def import_(self, text: str) -> None:
        async with connected(self.pool) as connection:
            await import_campaign(connection, text, wrapper=Wrapper(), now=self.clock.now())

    async def accept(self, records: int) -> float:
        """Put this many records on the counted topic; return the broker's time of the last one."""
        at = 0
        for _ in range(records):
            at = (await self._producer.send_and_wait(self.chain.source, b"{}", partition=0)).timestamp or 0
        return at / 1000

    async def count(self, *deltas: Delta, records: int = 1) -> None:
        """Apply a tally batch of this many records."""
        await self.apply(self.chain.batch(*deltas, records=records, accepted_until=self.clock.now() - 0.5))

    async def apply(self, batch: ActionsCounted) -> None:
        part = Part.of(self._applied, batch, msgspec.json.encode(batch))
        async with connected(self.pool) as connection, connection.transaction():
            await apply_tallies(connection, TallyRecords("tallies", [part]), LEDGER_KEY)
        self._applied += 1

    async def history_total(self) -> int:
        """The total at the end of the public history."""
        async with connected(self.pool) as connection:
            changes = await cells.step_changes(connection, "c", 1, Policies().public_evidence, case=None, since=0)
        return points(changes, Policies(), 0)[-1].total

    async def audited(self) -> tuple[dict[str, int], list[str]]:
        """What the audit sums the ledger up to, and what it finds wrong with it."""
        async with connected(self.pool) as connection, connection.transaction():
            differences: list[str] = []
            await audited.verify_chains(connection, differences)
            assert await audited.expand_deltas(connection)
            return await audited.verify_sums(connection, differences), differences

    async def outbox_documents(self) -> list[TotalsChanged]:
        """Remove the totals documents from the outbox and return them, oldest first."""
        rows = await self.pool.fetch("DELETE FROM outbox RETURNING id, topic, value")
        return [
            msgspec.json.decode(row["value"], type=TotalsChanged)
            for row in sorted(rows, key=lambda row: row["id"])
            if row["topic"] == topics.TOTALS.name
        ]

    async def published(self, publisher: Publisher) -> TotalsChanged:
        """Run a round of `publisher` and return the document last published."""
        await publisher.publish()
        document = await self.pool.fetchval("SELECT document FROM published WHERE campaign = 'c'")
        return msgspec.json.decode(document, type=TotalsChanged)


@pytest.fixture
async def marathon(platform: Endpoints, make_database: MakeDatabase, make_topic: MakeTopic) -> AsyncIterator[Marathon]:
    topic = await make_topic(topics.SIGNATURES, partitions=1)
    producer = AIOKafkaProducer(bootstrap_servers=platform["kafka"])
    await producer.start()
    async with pool_on(await make_database("marathon")) as pool:
        environment = Marathon(pool, platform["kafka"], topic, producer)
        yield environment
        for ends in environment.ends:
            await ends.close()
    await producer.stop()


async def test_totals_by_every_dimension_are_published_with_the_ledgers_heads(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT, goal=100))
    await marathon.accept(9)
    await marathon.count(
        delta(change=4),
        delta(change=3, country="BE", evidence="confirmed", case="bo", language="en", channel="api"),
        delta(change=2, evidence="self_reported", kind="share"),
        records=9,
    )
    totals = await marathon.published(marathon.publisher())
    assert (totals.version, totals.state, totals.as_of) == (2, "live", rfc3339(NOON))
    assert (totals.total, totals.public_total, totals.goal) == (9, 7, 100)
    assert totals.by_case == {"ana": 4, "bo": 3}
    assert totals.by_country == {"BE": 3, "FR": 4, "other": 0}
    assert totals.by_kind == {"signature": 7}
    assert totals.by_channel == {"api": 3, "web": 4}
    assert totals.by_language == {"en": 3, "fr": 4, "other": 0}
    assert {name: count for name, count in totals.by_evidence.items() if count} == {
        "confirmed": 3,
        "recorded": 4,
        "self_reported": 2,
    }
    head = await marathon.pool.fetchval("SELECT encode(hash, 'hex') FROM ledger ORDER BY first DESC LIMIT 1")
    assert totals.ledger == {f"{marathon.chain.source}/0": head}


async def test_a_reading_bears_the_time_of_the_broker(marathon: Marathon) -> None:
    before = await marathon.accept(1)
    reading = await marathon.end_offsets().read()
    assert before <= reading.read_at <= await marathon.accept(1)


async def test_versions_rise_by_one_and_unchanged_totals_are_not_sent_each_round(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    publisher = marathon.publisher()
    for _ in range(5):
        await publisher.publish()
    await marathon.count(delta(change=2))
    await publisher.publish()
    await publisher.publish()
    assert [document.version for document in await marathon.outbox_documents()] == [1, 2, 3]


async def test_two_publishers_never_publish_one_version_twice(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    publishers = [marathon.publisher(), marathon.publisher()]
    for _ in range(8):
        await marathon.count(delta(change=1))
        await asyncio.gather(*(publisher.publish() for publisher in publishers))
    documents = await marathon.outbox_documents()
    assert [document.version for document in documents] == list(range(1, len(documents) + 1))
    assert documents[-1].total == 8
    totals = [document.total for document in documents]
    assert totals == sorted(totals)


async def test_as_of_stands_still_while_something_is_missing_and_never_goes_back(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    publisher = marathon.publisher()
    assert (await marathon.published(publisher)).as_of == rfc3339(NOON)
    await marathon.accept(2)
    marathon.clock.advance(10)
    behind = await marathon.published(publisher)
    assert (behind.as_of, behind.state, behind.lag_seconds) == (rfc3339(NOON), "catching_up", 10.0)
    await marathon.count(delta(change=1), records=1)
    marathon.clock.advance(1)
    partly = await marathon.published(publisher)
    assert (partly.as_of, partly.state) == (rfc3339(NOON + 9.5), "live")
    # A new publisher has no memory, yet as_of must not go back.
    later = await marathon.published(marathon.publisher())
    assert parse_rfc3339(later.as_of) >= NOON + 9.5
    await marathon.count(delta(change=1), records=1)
    assert (await marathon.published(publisher)).as_of == rfc3339(NOON + 11)


async def test_people_who_withdraw_are_counted_and_invalidated_actions_are_on_record(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    await marathon.count(delta(change=100))
    await marathon.count(delta(change=-3, withdrawn=3), delta(change=-20, evidence="recorded", invalidated=20))
    totals = await marathon.published(marathon.publisher())
    assert (totals.total, totals.withdrawn) == (77, 3)
    assert [(line.change, line.reason) for line in totals.corrections] == [(-20, "invalidated")]


async def test_safety_mode_moves_in_steps_and_shows_no_recorded(marathon: Marathon) -> None:
    policies = {"safety_mode": True, "confirmation": "required"}
    await marathon.import_(campaign_file(policies=policies))
    await marathon.count(delta(change=27, evidence="confirmed"), delta(change=50))
    totals = await marathon.published(marathon.publisher())
    assert (totals.total, totals.public_total) == (20, 20)
    assert totals.by_evidence == {"confirmed": 20, "offline": 0}


async def test_in_safety_mode_a_total_goes_down_with_the_withdrawals_that_say_why(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies={"safety_mode": True, "confirmation": "required"}))
    publisher = marathon.publisher()
    shown = []
    await marathon.count(delta(change=30, evidence="confirmed"))
    await marathon.published(publisher)
    for withdrawn in (1, 8, 6):
        await marathon.count(
            delta(change=-withdrawn, evidence="confirmed", withdrawn=withdrawn), delta(change=-3, withdrawn=3)
        )
        totals = await marathon.published(publisher)
        shown.append((totals.total, totals.withdrawn, sum(totals.by_case.values()), "other" in totals.by_case))
    assert shown == [(30, 0, 30, False), (30, 0, 30, False), (20, 10, 20, False)]


async def test_a_closed_campaign_freezes_once_the_ledger_has_reached_the_ends(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    publisher = marathon.publisher()
    await marathon.accept(3)
    await marathon.count(delta(change=2), records=2)
    marathon.clock.set(CLOSED + 59)
    assert (await marathon.published(publisher)).state == "catching_up"
    assert await marathon.pool.fetchval("SELECT count(*) FROM freezes") == 0
    marathon.clock.set(CLOSED + 61)
    assert (await marathon.published(publisher)).state == "catching_up"
    await marathon.accept(5)
    await marathon.count(delta(change=1), records=1)
    await publisher.publish()
    final = await marathon.published(publisher)
    assert (final.state, final.total, final.lag_seconds) == ("frozen", 3, 0.0)


async def test_a_campaign_does_not_freeze_on_a_log_that_lost_what_was_counted(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.count(delta(change=5), records=5)
    # The log is a new one, without the counted records.
    await marathon.accept(2)
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    assert (await marathon.published(publisher)).state == "catching_up"
    assert publisher.degraded() == {f"{marathon.chain.source}/0": "the log ends at 2, before the position 5"}
    await marathon.accept(3)
    for _ in range(2):
        assert (await marathon.published(publisher)).state == "catching_up"
    assert await marathon.pool.fetchval("SELECT count(*) FROM freezes") == 0


async def test_a_publisher_that_another_holds_up_while_it_freezes_tries_again(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.accept(1)
    await marathon.count(delta(change=1))
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    async with connected(marathon.pool) as other:
        await other.execute("SELECT pg_advisory_lock(hashtext('marathon totals'), hashtext('c'))")
        running = asyncio.create_task(publisher.run())
        # The first round reads the ends, the second is to freeze.
        await asyncio.wait({running}, timeout=4)
        held_up = not running.done()
        await other.execute("SELECT pg_advisory_unlock_all()")
    assert held_up, running
    await wait_until(lambda: marathon.pool.fetchval("SELECT frozen_at IS NOT NULL FROM freezes"), 10)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_publisher_that_stands_still_although_both_answer_ends(
    marathon: Marathon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_totals, "GIVE_UP_AFTER_S", 1.0)
    await marathon.import_(campaign_file(policies=EXACT))
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    await publisher.publish()
    async with connected(marathon.pool) as other:
        await other.execute("SELECT pg_advisory_lock(hashtext('marathon totals'), hashtext('c'))")
        with pytest.raises(TransientError, match="although"):
            await asyncio.wait_for(publisher.run(), 30)
        await other.execute("SELECT pg_advisory_unlock_all()")


async def test_after_the_freeze_only_corrections_move(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    publisher = marathon.publisher()
    await marathon.accept(1)
    await marathon.count(delta(change=1))
    marathon.clock.set(CLOSED + 61)
    await publisher.publish()
    final = await marathon.published(publisher)
    assert final.state == "frozen"
    await marathon.count(delta(change=-1, withdrawn=1))
    await marathon.count(delta(change=5))
    marathon.clock.advance(3600)
    after = await marathon.published(publisher)
    assert after.version == final.version + 1
    assert msgspec.structs.replace(after, version=final.version, corrections=[]) == final
    lines = {(line.change, line.reason) for line in after.corrections}
    assert lines == {(-1, "withdrawn-after-close"), (5, "counted-after-close")}
    assert (await marathon.published(publisher)).version == after.version
    assert await marathon.history_total() == final.public_total
    assert await marathon.audited() == ({"c": 5}, [])


async def test_a_final_tally_made_after_the_backup_stays_as_it_was_published(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.accept(3)
    await marathon.count(delta(change=7), records=2)
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    await marathon.published(publisher)
    await marathon.count(delta(change=-1, withdrawn=1))
    await marathon.published(publisher)
    final = await marathon.published(publisher)
    assert (final.state, final.total) == ("frozen", 6)
    corrected = msgspec.structs.replace(
        final,
        version=final.version + 1,
        corrections=[Correction(at=rfc3339(CLOSED + 120), change=-1, reason="withdrawn-after-close")],
    )
    # The state of a backup from before the end, once the ledger is complete again.
    await marathon.pool.execute("DELETE FROM freezes")
    await marathon.accept(1)
    await marathon.count(delta(change=-1, withdrawn=1))
    async with connected(marathon.pool) as connection:
        await put_back(
            connection, campaigns_=(), cases=(), keys=(), accesses=(), totals=[corrected], now=marathon.clock.now()
        )
        await freeze_again(connection, corrected)
    assert await marathon.published(marathon.publisher()) == corrected
    assert await marathon.history_total() == 6
    await marathon.accept(1)
    await marathon.count(delta(change=2))
    after = await marathon.published(marathon.publisher())
    assert (after.state, after.total, await marathon.history_total()) == ("frozen", 6, 6)
    assert {(line.change, line.reason) for line in after.corrections} == {
        (-1, "withdrawn-after-close"),
        (2, "counted-after-close"),
    }
    assert await marathon.audited() == ({"c": 7}, [])


async def test_the_days_add_up_to_the_cells_in_every_dimension_and_the_audit_sees_if_not(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    minute = int(NOON) // 60
    await marathon.count(
        delta(change=4, minute=minute),
        delta(change=3, minute=minute + 1440, held=2),
        delta(change=2, minute=minute, section="fr", country="BE", kind="letter", channel="api", language="en"),
    )
    await marathon.count(delta(change=-1, withdrawn=1, minute=minute), delta(change=1, held=-1, minute=minute + 1440))
    days = await marathon.pool.fetch("SELECT day, change, withdrawn, held FROM days ORDER BY day, change")
    first = minute // 1440
    assert [tuple(row) for row in days] == [(first, 2, 0, 0), (first, 3, 1, 0), (first + 1, 4, 0, 1)]
    dimensions = 'campaign, "case", section, kind, channel, country, language, evidence'
    unequal = await marathon.pool.fetch(
        f"""
        SELECT {dimensions}, count, withdrawn, held FROM cells
        EXCEPT SELECT {dimensions}, sum(change), sum(withdrawn), sum(held) FROM days GROUP BY {dimensions}
        """  # noqa: S608  columns of ours
    )
    assert unequal == []
    assert await marathon.audited() == ({"c": 9}, [])
    await marathon.pool.execute("UPDATE days SET held = held + 1 WHERE day = $1 AND change = 2", first)
    assert await marathon.audited() == ({"c": 9}, ["days of c: 2026-12-01 has cells of 2, the ledger of 2"])


async def test_a_source_without_a_topic_stands_in_the_ledger_like_any_other(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.accept(1)
    await marathon.count(delta(change=1))
    chain = Chain(source="marathon.offline")
    parts = [
        Part.of(-1, batch, msgspec.json.encode(batch))
        for batch in (
            chain.batch(delta(change=6, evidence="offline", kind="letter"), records=1),
            chain.batch(records=1),
        )
    ]
    async with connected(marathon.pool) as connection, connection.transaction():
        outcome = fold({}, {}, parts, LEDGER_KEY)
        await ledger.put_rows(connection, outcome.rows)
        await add_batches(connection, outcome.batches)
        await ledger.put_heads(connection, None, outcome.heads, {})
        # A start of the reader leaves it alone: there is nothing to read again.
        await ledger.resume_halted(connection, GROUP)
    totals = await marathon.published(marathon.publisher())
    assert (totals.state, totals.total, totals.by_evidence["offline"]) == ("live", 7, 6)
    assert totals.ledger["marathon.offline/0"] == outcome.rows[-1].hash.hex()
    assert await marathon.pool.fetchval("SELECT topic FROM sources WHERE source = 'marathon.offline'") is None
    assert await marathon.audited() == ({"c": 7}, [])


async def test_a_word_that_a_decision_gives_is_published_as_it_is(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.count(delta(change=9))
    await marathon.count(delta(change=-4, invalidated=4, reason="a-word-of-tomorrow"))
    totals = await marathon.published(marathon.publisher())
    assert [(line.change, line.reason) for line in totals.corrections] == [(-4, "a-word-of-tomorrow")]


async def test_what_another_choice_of_evidence_did_after_the_backup_stays_on_public_record(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.count(delta(change=40), delta(change=-5, evidence="confirmed", invalidated=5))
    await marathon.import_(campaign_file(policies={**EXACT, "public_evidence": ["confirmed", "offline"]}))
    before = await marathon.published(marathon.publisher())
    assert {(line.change, line.reason) for line in before.corrections} == {(-40, "policy-changed"), (-5, "invalidated")}
    # The state of a backup from before that import: the tally batches restore the cells.
    await marathon.pool.execute("DELETE FROM corrections WHERE reason = 'policy-changed'")
    for _ in range(2):
        async with connected(marathon.pool) as connection:
            await put_back(
                connection, campaigns_=(), cases=(), keys=(), accesses=(), totals=[before], now=marathon.clock.now()
            )
    after = await marathon.published(marathon.publisher())
    assert after.corrections == before.corrections


async def test_a_frozen_campaign_keeps_its_window(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    await publisher.publish()
    await publisher.publish()
    with pytest.raises(Exception, match="to mend"):
        await marathon.import_(campaign_file(closes="2027-06-01T00:00:00Z"))


async def test_a_choice_of_evidence_cannot_change_between_the_reading_of_the_ends_and_the_final_tally(
    marathon: Marathon,
) -> None:
    await marathon.import_(campaign_file(policies=EXACT))
    await marathon.accept(1)
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    assert (await marathon.published(publisher)).state != "frozen"
    with pytest.raises(CampaignFileError) as caught:
        await marathon.import_(campaign_file(policies={**EXACT, "public_evidence": ["confirmed"]}))
    assert [complaint.path for complaint in caught.value.faults] == [("campaign", "policies", "public_evidence")]
    await marathon.count(delta(change=4))
    await publisher.publish()
    final = await marathon.published(publisher)
    assert (final.state, final.public_total, final.corrections) == ("frozen", 4, [])


async def test_a_campaign_that_is_extended_while_its_end_is_read_stays_open(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    marathon.clock.set(CLOSED + 61)
    publisher = marathon.publisher()
    async with connected(marathon.pool) as importing:
        transaction = importing.transaction()
        await transaction.start()
        extended = campaign_file(closes="2027-06-01T00:00:00Z")
        await import_campaign(importing, extended, wrapper=Wrapper(), now=marathon.clock.now())
        reading = asyncio.create_task(publisher.publish())
        # It has read the old state of the campaign, or soon will; it ends only after the import.
        await asyncio.wait({reading}, timeout=1)
        await transaction.commit()
    await asyncio.wait_for(reading, 10)
    assert await marathon.pool.fetchval("SELECT count(*) FROM freezes") == 0
