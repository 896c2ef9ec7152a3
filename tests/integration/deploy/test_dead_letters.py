"""What becomes of dead letters that are put back or dismissed, on a real broker and database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from deploy.local.endpoints import Endpoints
from deploy.recovery import dead_letters
from deploy.recovery.dead_letters import DISMISSED, WAITING, FoundLetter, dismiss, put_back, read_letters
from services.petitions.consumers.counted import SIGNATURES
from shared import topics
from shared.events.cloudevents import Envelope
from tests.support.counting import CountingHarness, counting_harness, key_of, signature

NEWER = Envelope("signature-submitted", source="/tests", version="2.0")


@pytest.fixture
async def harness(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CountingHarness]:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as harness:
        for topic in (harness.counted.topic, harness.counted.dead_letters):
            monkeypatch.setitem(topics.BY_NAME, topic.name, topic)
        yield harness


@pytest.fixture
def at(platform: Endpoints, harness: CountingHarness) -> Endpoints:
    return {**platform, "databases": {"petitions": harness.database}}


async def refused(harness: CountingHarness, at: Endpoints) -> FoundLetter:
    """Publish a signature of a version that nobody reads, and return its dead letter."""
    headers = NEWER.headers(b"2026-12-01T12:00:00.250Z")
    await harness.publish("submitted", key_of("ana"), signature("ana"), partition=1, headers=headers)
    await harness.count_all()
    [found] = await read_letters(at, harness.counted.topic, with_records=True)
    return found


async def test_a_record_that_is_refused_after_its_dismissal_is_a_dead_letter_again(
    harness: CountingHarness, at: Endpoints
) -> None:
    found = await refused(harness, at)
    assert (found.state, found.place) == (WAITING, f"{harness.topic}/1/0")
    await dismiss(at, found, "nobody wants it")
    [after] = await read_letters(at, harness.counted.topic)
    assert (after.state, after.why) == (DISMISSED, "nobody wants it")
    async with harness.run_counter():
        again = await put_back(at, harness.counted.topic, [found.letter])
    assert [(each.place, each.letter.reason) for each in again.refused_again] == [(found.place, "unknown-version")]
    assert (again.sent, again.unread) == (1, 0)
    [last] = await read_letters(at, harness.counted.topic)
    assert (last.state, last.letter.refused_offset) == (WAITING, 1)


async def test_what_nobody_reads_after_it_was_put_back_is_told_as_unread(
    harness: CountingHarness, at: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await refused(harness, at)
    monkeypatch.setattr(dead_letters, "READ_TIMEOUT_S", 0.5)
    assert await put_back(at, harness.counted.topic, [found.letter]) == (1, [], 1)
    stranger = found.letter._replace(group="elsewhere.read-things")
    assert await put_back(at, harness.counted.topic, [stranger]) == (1, [], 1)
