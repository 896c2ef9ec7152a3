"""What cannot be counted becomes a dead letter, and can be put back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import msgspec
import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from structlog.testing import capture_logs

from deploy.local.endpoints import Endpoints
from services.petitions.consumers.counted import SIGNATURES
from shared import topics
from shared.clock import parse_rfc3339
from shared.counting.replay import replay
from shared.database import connected
from shared.events.actions import ActionReference
from shared.events.cloudevents import Envelope
from shared.events.values import MAX_PETITION_VERSION
from shared.kafka.redrive import DeadLetterRecord, list_dead_letters, read_applied, redrive
from tests.support.counting import PARTITIONS, CountingHarness, counting_harness, decision, digest_of, key_of, signature

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
ANA = key_of("ana")
TIME = b"2026-12-01T12:00:00.250Z"


@pytest.fixture
async def signatures(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[CountingHarness]:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as harness:
        yield harness


def submitted_as(version: str) -> list[tuple[str, bytes]]:
    return Envelope("signature-submitted", source="/tests", version=version).headers(TIME)


async def pending_dead_letters(harness: CountingHarness) -> list[DeadLetterRecord]:
    async with aclosing(list_dead_letters(harness.kafka, harness.topic)) as letters:
        rows = await harness.pool.fetch('SELECT partition, "offset" FROM dead_letters WHERE applied')
        applied_origins = {(row["partition"], row["offset"]) for row in rows}
        by_origin = {(letter.partition, letter.offset): letter async for letter in letters}
        return [letter for origin, letter in by_origin.items() if origin not in applied_origins]


async def redrive_all(harness: CountingHarness) -> int:
    copies = await redrive(harness.kafka, harness.topic, await pending_dead_letters(harness))
    await harness.count_all()
    return len(copies)


async def states(harness: CountingHarness) -> dict[bytes, str]:
    return {key: row["state"] for key, row in (await harness.rows()).items()}


async def differences(harness: CountingHarness) -> list[str]:
    async with aclosing(replay(harness.database, harness.kafka, harness.counted)) as reports:
        return [difference async for report in reports for difference in report.differences]


async def test_each_kind_of_bad_record_is_a_dead_letter_with_its_reason_and_the_partition_moves(
    signatures: CountingHarness,
) -> None:
    good = msgspec.json.encode(signature("ana"))
    other = Envelope("signature-erased", source="/tests").headers(TIME)
    bad: list[tuple[str, bytes, bytes | None, list[tuple[str, bytes]]]] = [
        ("unreadable", ANA, b'{"campaign": ', submitted_as("1.0")),
        ("unreadable", ANA, b'{"campaign": "\xff"}', submitted_as("1.0")),
        ("invalid", ANA, b"[]", submitted_as("1.0")),
        ("invalid", ANA, b"{}", submitted_as("1.0")),
        ("invalid", ANA, good.replace(b'"FR"', b"7"), submitted_as("1.0")),
        ("invalid", ANA, good.replace(b'"FR"', b'"\\u0000"'), submitted_as("1.0")),
        ("invalid", ANA, good.replace(b'"digest":"', b'"digest":"x'), submitted_as("1.0")),
        ("invalid", ANA, good.replace(b'"w4r-2026"', b'"%s"' % (b"w" * 101)), submitted_as("1.0")),
        ("invalid", ANA, good.replace(b'"petition_version":1', b'"petition_version":32768'), submitted_as("1.0")),
        ("unreadable", ANA, b'{"x": ' + b"[" * 5000, submitted_as("1.0")),
        ("no-value", ANA, None, submitted_as("1.0")),
        ("oversize", ANA, b"x" * 900_000, submitted_as("1.0")),
        ("bad-key", b"short", good, submitted_as("1.0")),
        ("unknown-version", ANA, good, submitted_as("2.0")),
        ("unknown-type", ANA, good, other),
        ("not-a-cloudevent", ANA, good, []),
        ("bad-origin", ANA, good, [*submitted_as("1.0"), ("ce_origin", b"elsewhere/0/0")]),
    ]
    for _, key, value, headers in bad:
        await signatures.publish("submitted", key, value, partition=1, headers=headers)
    await signatures.publish("submitted", ANA, good, partition=1, headers=submitted_as("1.7"))
    with capture_logs() as lines:
        await signatures.count_all()
    told = [line for line in lines if line["event"] == "dead letter"]
    assert [(line["offset"], line["reason"]) for line in told] == [(i, reason) for i, (reason, *_) in enumerate(bad)]
    assert {(line["topic"], line["partition"]) for line in told} == {(signatures.topic, 1)}
    assert {*told[0]} == {"event", "log_level", "group", "topic", "partition", "offset", "reason"}
    assert await states(signatures) == {ANA: "r"}
    dead_letters = await signatures.dead_letters()
    assert [reason for reason, _ in dead_letters] == [reason for reason, *_ in bad]
    for (_, record), (_, key, value, headers) in zip(dead_letters, bad, strict=True):
        assert (record.key, record.value, record.partition) == (key, value, 1)
        assert [header for header in record.headers if not header[0].startswith("dlq_")] == headers
    assert Counter(row["reason"] for row in await signatures.pool.fetch("SELECT reason FROM dead_letters")) == Counter(
        reason for reason, *_ in bad
    )


async def test_whatever_counts_as_a_word_can_be_stored_and_what_its_topic_does_not_know_is_not_looked_at(
    signatures: CountingHarness,
) -> None:
    chance = random.Random(7)
    words = ["".join(chr(chance.randrange(0x20000, 0x2A6D0)) for _ in range(100)) for _ in range(6)]
    named = dict(zip(("campaign", "case", "subject", "section", "country", "language"), words, strict=True))
    await signatures.publish(
        "submitted", ANA, signature("ana", **named, petition_version=MAX_PETITION_VERSION), partition=1
    )
    limited = msgspec.to_builtins(signature("ben")) | {"person": digest_of("ben"), "daily_limit": 0}
    await signatures.publish(
        "submitted", key_of("ben"), msgspec.json.encode(limited), partition=1, headers=submitted_as("1.7")
    )
    await signatures.count_all()
    assert await states(signatures) == {ANA: "r", key_of("ben"): "r"}
    assert await signatures.dead_letters() == []


class NotUtf8(str):
    """A header name as another client may write it."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff" * len(self)


async def test_no_foreign_record_can_stop_the_counting_whatever_stands_in_it(
    signatures: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other builder takes no names but UTF-8.
    monkeypatch.setattr("aiokafka.producer.message_accumulator.DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    fills = bytes(500_000)
    foreign: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (ANA, b"{}", [(NotUtf8("x" * 400_000), b"")]),
        (ANA, fills, [(NotUtf8("x" * 200_000), b"")]),
        (ANA, b"{}", [("", b"")] * 300_000),
        (ANA, b"{}", [("x" * 1_000_000, b"")]),
        (bytes(1_000_000), None, []),
        (None, None, []),
        (None, None, [("ce_origin", b""), ("ce_origintime", bytes(500_000)), ("ce_type", NotUtf8("x").encode())]),
        (ANA, b"{}", [*submitted_as("1.0")[:5], ("x", b"\x0ace_id")]),
    ]
    for key, value, headers in foreign:
        batch = signatures.producer.create_batch()
        assert batch.append(key=key, value=value, timestamp=None, headers=headers)
        await (await signatures.producer.send_batch(batch, signatures.topic, partition=1))
    await signatures.publish("submitted", ANA, signature("ana"), partition=1)
    await signatures.count_all()
    assert await states(signatures) == {ANA: "r"}
    dlq_headers = [dict(record.headers) for _, record in await signatures.dead_letters()]
    assert [int(headers["dlq_offset"]) for headers in dlq_headers] == list(range(len(foreign)))
    left_out = [int(headers["dlq_value_left_out"]) for headers in dlq_headers if "dlq_value_left_out" in headers]
    assert left_out == [2, 500_000, 2]


async def test_headers_that_came_with_a_record_lead_no_redrive_astray(
    signatures: CountingHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_letters = signatures.counted.dead_letters
    monkeypatch.setitem(topics.BY_NAME, dead_letters.name, dead_letters)
    good, newer = msgspec.json.encode(signature("ana")), submitted_as("2.0")
    forged = [
        [("ce_origin", b"x"), ("ce_origintime", b"\xff")],
        [("ce_origin", f"{signatures.topic}/1/99".encode())],
        [("ce_origin", f"{signatures.topic}/0/0".encode()), ("ce_origintime", b"2020-01-01T00:00:00Z")],
        [("ce_origintime", b"yesterday")],
        [("dlq_offset", b"0"), ("dlq_reason", b"\xff"), ("dlq_timestamp", b"never")],
    ]
    for headers in forged:
        await signatures.publish("submitted", ANA, good, partition=1, headers=[*newer, *headers])
    # These can never be redriven.
    await signatures.publish("submitted", bytes(1_048_300), None, partition=1, headers=[])
    batch = signatures.producer.create_batch()
    assert batch.append(key=None, value=None, timestamp=None, headers=[])
    await (await signatures.producer.send_batch(batch, signatures.topic, partition=1))
    await signatures.count_all()
    await signatures.producer.send_and_wait(dead_letters.name, b"not of ours", partition=1)
    accepted = [record.timestamp for record in await signatures.records(signatures.topic, PARTITIONS)]
    pending = await pending_dead_letters(signatures)
    assert [letter.offset for letter in pending] == [0, 1, 2, 3, 4, 5, 6]
    assert [parse_rfc3339(letter.accepted_at) for letter in pending] == pytest.approx(
        [at / 1000 for at in accepted], abs=0.002
    )
    assert await redrive_all(signatures) == len(forged)
    # They are refused again, and keep their origins.
    assert [(letter.offset, letter.reason) for letter in await pending_dead_letters(signatures)] == [
        *((offset, "unknown-version") for offset in range(5)),
        (5, "not-a-cloudevent"),
        (6, "not-a-cloudevent"),
    ]


async def test_a_withdrawal_without_a_submission_is_a_dead_letter_and_never_undoes_a_later_one(
    signatures: CountingHarness,
) -> None:
    await signatures.publish("withdrawn", ANA, REFERENCE)
    await signatures.publish("submitted", ANA, signature("ana"))
    await signatures.count_all()
    assert [reason for reason, _ in await signatures.dead_letters()] == ["no-submission"]
    assert await redrive_all(signatures) == 1
    assert await states(signatures) == {ANA: "r"}
    assert await redrive_all(signatures) == 0
    assert await differences(signatures) == []


async def test_a_withdrawal_that_only_newer_code_understands_does_not_undo_a_repeat_after_it(
    signatures: CountingHarness,
) -> None:
    newer = Envelope("signature-withdrawn", source="/tests", version="2.0").headers(TIME)
    await signatures.publish("submitted", ANA, signature("ana"))
    partition, offset = await signatures.publish("withdrawn", ANA, REFERENCE, headers=newer)
    await signatures.publish("submitted", ANA, signature("ana"))
    await signatures.count_all()
    origin = f"{signatures.topic}/{partition}/{offset}".encode()
    understood = [*Envelope("signature-withdrawn", source="/tests").headers(TIME), ("ce_origin", origin)]
    await signatures.publish("withdrawn", ANA, REFERENCE, headers=understood)
    await signatures.count_all()
    assert await states(signatures) == {ANA: "r"}
    assert await differences(signatures) == []


async def test_redriving_twice_gives_what_once_gives(signatures: CountingHarness) -> None:
    early, late = key_of("early"), key_of("late")
    await signatures.publish("invalidated", early, decision("early", 1))
    await signatures.publish("confirmed", late, msgspec.json.encode({"digest": digest_of("late")}))
    await signatures.count_all()
    everything = await pending_dead_letters(signatures)
    assert len(everything) == 2
    for _ in range(2):
        await redrive(signatures.kafka, signatures.topic, everything)
    await signatures.publish("submitted", late, signature("late"))
    await signatures.count_all()
    once = (
        await states(signatures),
        sum(delta.change for batch in await signatures.tallies() for delta in batch.deltas),
    )
    await redrive_all(signatures)
    await redrive_all(signatures)
    twice = (
        await states(signatures),
        sum(delta.change for batch in await signatures.tallies() for delta in batch.deltas),
    )
    assert once == twice == ({late: "r"}, 1)
    assert await differences(signatures) == []


async def test_a_redriven_submission_counts_once_in_the_minute_it_was_first_accepted(
    signatures: CountingHarness,
) -> None:
    headers = submitted_as("2.0")
    partition, offset = await signatures.publish("submitted", ANA, signature("ana"), headers=headers)
    await signatures.count_all()
    accepted = (await signatures.records(signatures.topic, PARTITIONS))[0].timestamp
    [letter] = await pending_dead_letters(signatures)
    repaired = letter._replace(
        accepted_at="2026-11-20T10:00:30.000Z",
        record=letter.record._replace(packed_headers=_packed(submitted_as("1.0"))),
    )
    for _ in range(2):
        await redrive(signatures.kafka, signatures.topic, [repaired])
        await signatures.count_all()
    row = (await signatures.rows())[ANA]
    assert (row["partition"], row["opened"], row["state"]) == (partition, offset, "r")
    assert row["minute"] * 60_000 == 1_795_168_800_000 < accepted
    async with connected(signatures.pool) as connection:
        assert await read_applied(connection, signatures.topic) == {(partition, offset)}
    assert sum(delta.change for batch in await signatures.tallies() for delta in batch.deltas) == 1


def _packed(headers: list[tuple[str, bytes]]) -> bytes:
    """Headers as they stand in a log."""
    parts = [_number(len(headers))]
    for name, value in headers:
        parts += [_number(len(name)), name.encode(), _number(len(value)), value]
    return b"".join(parts)


def _number(value: int) -> bytes:
    assert value < 64
    return bytes([value << 1])


async def test_a_deploy_that_refuses_everything_halts_the_partition_and_loses_nothing(
    signatures: CountingHarness,
) -> None:
    newer = submitted_as("2.0")
    for number in range(60):
        await signatures.publish("submitted", key_of(str(number)), signature(str(number)), partition=0, headers=newer)
    await signatures.publish("submitted", ANA, signature("ana"), partition=1)
    partition = f"{signatures.counted.group} in {signatures.topic}/0"
    async with signatures.run_counter() as loop:

        async def halted() -> bool:
            return partition in loop.missing() and ANA in await signatures.rows()

        await signatures.wait_until(halted)
        assert "over 50 records in a row" in loop.missing()[partition]
    assert await signatures.positions() == {0: 0, 1: 1, 2: 0, 3: 0}
    assert await signatures.dead_letters() == []
