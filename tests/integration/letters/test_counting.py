"""Messages are counted by the same code, with a daily limit to what one person sends to a case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from deploy.local.endpoints import Endpoints
from services.letters.consumers.counted import MESSAGES
from shared.counting.replay import replay
from shared.events.actions import ActionConfirmed
from tests.support.counting import CountingHarness, counting_harness, decision, digest_of, key_of, message


@pytest.fixture
async def messages(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[CountingHarness]:
    async with counting_harness(MESSAGES, await make_database("letters"), platform["kafka"]) as harness:
        yield harness


async def write(harness: CountingHarness, person: str, text: str, limit: int = 2) -> bytes:
    """Publish a letter of `person` to their partition and return its key."""
    key = key_of(f"{person}|{text}")
    event = message(person, digest=digest_of(text), daily_limit=limit)
    await harness.publish("submitted", key, event, partition=key_of(person)[0] % 4)
    return key


async def states(harness: CountingHarness) -> dict[bytes, str]:
    return {key: row["state"] for key, row in (await harness.rows()).items()}


async def total(harness: CountingHarness) -> int:
    return sum(delta.change for batch in await harness.tallies() for delta in batch.deltas)


async def test_what_a_person_sends_beyond_the_limit_of_a_day_is_held_until_it_is_released(
    messages: CountingHarness,
) -> None:
    ana = [await write(messages, "ana", f"letter {number}") for number in range(4)]
    bea = await write(messages, "bea", "letter")
    await write(messages, "ana", "letter 0")
    await messages.count_all()
    assert await states(messages) == {ana[0]: "r", ana[1]: "r", ana[2]: "h", ana[3]: "h", bea: "r"}
    assert await total(messages) == 3
    partition = key_of("ana")[0] % 4
    confirmed = ActionConfirmed(campaign="w4r-2026", case="azat", subject="azat", digest=digest_of("letter 3"))
    await messages.publish("confirmed", ana[3], confirmed, partition=partition)
    await messages.publish("released", ana[3], decision("letter 3", 1), partition=partition)
    await messages.count_all()
    assert (await states(messages))[ana[3]] == "c"
    assert await total(messages) == 4


async def test_what_people_say_they_posted_is_counted_apart_and_under_the_same_limit(messages: CountingHarness) -> None:
    partition = key_of("ana")[0] % 4
    posted = [key_of(f"ana|sheet {number}") for number in range(3)]
    for number, key in enumerate(posted):
        event = message(
            "ana", digest=digest_of(f"{number}"), daily_limit=2, kind="letter", channel="post", evidence="self_reported"
        )
        await messages.publish("submitted", key, event, partition=partition)
        await messages.publish("submitted", key, event, partition=partition)
    await messages.count_all()
    assert await states(messages) == {posted[0]: "s", posted[1]: "s", posted[2]: "t"}
    await messages.publish("released", posted[2], decision("2", 1), partition=partition)
    await messages.count_all()
    assert await states(messages) == dict.fromkeys(posted, "s")
    deltas = [delta for batch in await messages.tallies() for delta in batch.deltas]
    assert {(delta.channel, delta.evidence) for delta in deltas} == {("post", "self_reported")}
    assert sum(delta.change for delta in deltas) == 3


async def test_the_limit_holds_across_batches_and_counts_nothing_twice(messages: CountingHarness) -> None:
    keys = []
    for number in range(3):
        keys.append(await write(messages, "ana", f"letter {number}"))
        await messages.count_all()
    assert list((await states(messages)).values()) == ["r", "r", "h"]
    assert await messages.pool.fetchval("SELECT opened FROM person_days") == 3


async def test_a_replay_of_messages_gives_what_is_held(messages: CountingHarness) -> None:
    for number in range(6):
        await write(messages, "ana", f"letter {number}")
        await write(messages, f"person {number}", "letter")
    await messages.count_all()
    async with aclosing(replay(messages.database, messages.kafka, messages.counted)) as reports:
        found = [report async for report in reports]
    assert [report.differences for report in found] == [[]] * 4
    assert sum(report.rows for report in found) == 12
