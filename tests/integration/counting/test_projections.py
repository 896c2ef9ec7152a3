"""Tables that a service keeps in step with its actions, and what decisions and imports do to the actions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import asyncpg
import msgspec
import pytest

from deploy.local.endpoints import Endpoints
from services.petitions.consumers.counted import SIGNATURES
from shared.counting.event_decoder import SubmissionRecord
from shared.counting.projections import ActionChange, ChangeKind
from shared.events.actions import ActionReference
from tests.support.counting import CountingHarness, counting_harness, decision, digest_of, key_of, signature
from tests.support.databases import change_schema

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
ANA, BEA, CID = key_of("ana"), key_of("bea"), key_of("cid")


class Journal:
    """A projection that writes down every change that it gets."""

    def __init__(self, kinds: Sequence[ChangeKind]) -> None:
        self.kinds = kinds

    def selects(self, submission: SubmissionRecord) -> bool:
        return submission.country != "GB"

    async def apply(self, connection: asyncpg.Connection, changes: Sequence[ActionChange]) -> None:
        # A projection finds the rows of its batch written.
        await connection.executemany(
            """
            INSERT INTO journal (kind, key, "offset", digest, state)
            SELECT $1, $2, $3, $4, state::text FROM signatures WHERE key = $2
            """,
            [(change.kind, change.key, change.submission.offset, change.digest) for change in changes],
        )

    async def erase(self, connection: asyncpg.Connection, key: bytes) -> None:
        await connection.execute("DELETE FROM journal WHERE key = $1", key)


@pytest.fixture
async def signatures(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[CountingHarness]:
    database = await make_database("petitions")
    await change_schema(
        platform,
        database,
        """
        CREATE TABLE journal (id bigserial, kind text, key bytea, "offset" bigint, digest bytea, state text);
        GRANT ALL ON journal, journal_id_seq TO petitions
        """,
    )
    projections = (Journal(["opened", "confirmed", "withdrawn", "invalidated", "reinstated", "released"]),)
    async with counting_harness(replace(SIGNATURES, projections=projections), database, platform["kafka"]) as harness:
        yield harness


async def journal(harness: CountingHarness, key: bytes) -> list[tuple[str, int, str]]:
    """The changes of `key`: kind, offset of the submission that opened the action, and the state written then."""
    rows = await harness.pool.fetch('SELECT kind, "offset", state FROM journal WHERE key = $1 ORDER BY id', key)
    return [tuple(row) for row in rows]


async def test_a_projection_gets_each_change_once_in_the_transaction_that_counts_it(
    signatures: CountingHarness,
) -> None:
    _, first = await signatures.publish("submitted", ANA, signature("ana"))
    await signatures.publish("submitted", BEA, signature("bea", country="GB"))
    await signatures.count_all()
    assert await journal(signatures, ANA) == [("opened", first, "r")]
    assert await journal(signatures, BEA) == []
    confirmed = {"campaign": "", "case": "", "subject": "", "digest": digest_of("ana")}
    await signatures.publish("submitted", ANA, signature("ana"))
    await signatures.publish("confirmed", ANA, msgspec.json.encode(confirmed))
    await signatures.publish("withdrawn", ANA, REFERENCE)
    _, again = await signatures.publish("submitted", ANA, signature("ana", confirmed_at="2026-12-01T12:00:00Z"))
    await signatures.count_all()
    assert await journal(signatures, ANA) == [
        ("opened", first, "r"),
        ("confirmed", first, "c"),
        ("withdrawn", first, "c"),
        ("opened", again, "c"),
        ("confirmed", again, "c"),
    ]


async def test_a_decision_reaches_a_projection_with_the_submission_that_it_is_about(
    signatures: CountingHarness,
) -> None:
    held = msgspec.to_builtins(signature("cid")) | {"held": "robot"}
    _, opened = await signatures.publish("submitted", CID, msgspec.json.encode(held))
    await signatures.publish("released", CID, decision("cid", 1))
    await signatures.publish("invalidated", CID, decision("somebody else", 2, reason="duplicate"))
    await signatures.publish("invalidated", CID, decision("cid", 3, reason="duplicate"))
    await signatures.publish("released", CID, decision("cid", 1))
    await signatures.count_all()
    assert await journal(signatures, CID) == [(kind, opened, "r") for kind in ("opened", "released", "invalidated")]
    deltas = [delta for batch in await signatures.tallies() for delta in batch.deltas]
    assert [(d.change, d.held, d.invalidated, d.reason) for d in deltas] == [(1, 0, 0, ""), (-1, 0, 1, "duplicate")]


async def test_a_decision_that_comes_late_does_nothing_also_in_a_later_batch(signatures: CountingHarness) -> None:
    await signatures.publish("submitted", ANA, signature("ana"))
    await signatures.publish("invalidated", ANA, decision("ana", 7))
    await signatures.count_all()
    await signatures.publish("reinstated", ANA, decision("ana", 6))
    await signatures.count_all()
    assert (await signatures.rows())[ANA]["invalidated"]
    await signatures.publish("reinstated", ANA, decision("ana", 8))
    await signatures.count_all()
    assert not (await signatures.rows())[ANA]["invalidated"]


async def test_a_decision_without_number_or_digest_or_with_a_text_for_a_reason_is_a_dead_letter(
    signatures: CountingHarness,
) -> None:
    await signatures.publish("submitted", ANA, signature("ana"))
    for wrong in (decision("ana", 0), decision("ana", 1, reason="She wrote this twice."), REFERENCE):
        await signatures.publish("invalidated", ANA, wrong)
    await signatures.count_all()
    assert [reason for reason, _ in await signatures.dead_letters()] == ["invalid"] * 3


async def test_an_import_is_counted_in_the_minute_in_which_the_person_acted(signatures: CountingHarness) -> None:
    imported = msgspec.to_builtins(signature("ana", channel="import")) | {"acted_at": "2025-12-24T18:30:00Z"}
    pretended = msgspec.to_builtins(signature("bea")) | {"acted_at": "2025-12-24T18:30:00Z"}
    await signatures.publish("submitted", ANA, msgspec.json.encode(imported))
    await signatures.publish("submitted", BEA, msgspec.json.encode(pretended))
    await signatures.count_all()
    assert (await signatures.rows())[ANA]["minute"] * 60 == 1_766_601_000
    assert [delta.minute * 60 for batch in await signatures.tallies() for delta in batch.deltas] == [1_766_601_000]
    assert [reason for reason, _ in await signatures.dead_letters()] == ["invalid"]
