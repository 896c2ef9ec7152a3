"""Counting with a real broker and database: every action is counted once and published once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from deploy.local.endpoints import Endpoints
from services.petitions.consumers.counted import SIGNATURES
from shared.events.actions import ActionConfirmed, ActionReference
from shared.kafka.partitions import partition_of
from tests.support.counting import PARTITIONS, CountingHarness, counting_harness, decision, digest_of, key_of, signature

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
COUNTRIES = ("FR", "GB", "PE", "DZ")


def confirmed(person: str) -> ActionConfirmed:
    return ActionConfirmed(campaign="w4r-2026", case="azat", subject="free-azat", digest=digest_of(person))


@pytest.fixture
async def signatures(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> AsyncIterator[CountingHarness]:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as harness:
        yield harness


async def published_totals(harness: CountingHarness) -> Counter[tuple[str, str]]:
    """The totals of all tally batches, by country and evidence; checks that they are contiguous for each partition."""
    sums: Counter[tuple[str, str]] = Counter()
    expected = dict.fromkeys(range(PARTITIONS), (0, 0))
    for batch in await harness.tallies():
        assert (batch.first, batch.part) == expected[batch.partition]
        last = batch.part == batch.parts - 1
        expected[batch.partition] = (batch.next, 0) if last else (batch.first, batch.part + 1)
        for delta in batch.deltas:
            sums[delta.country, delta.evidence] += delta.change
    assert {partition: first for partition, (first, _) in expected.items()} == await harness.positions()
    return +sums


async def stored_totals(harness: CountingHarness) -> Counter[tuple[str, str]]:
    """The totals of the stored rows, by country and evidence, by independent SQL."""
    rows = await harness.pool.fetch("""
        SELECT d.country, s.state::text AS state, count(*) FROM signatures s JOIN dimensions d ON d.id = s.dimensions
        WHERE state IN ('r', 'c', 's') AND NOT invalidated GROUP BY 1, 2
    """)
    return Counter(
        {
            (row["country"], {"r": "recorded", "c": "confirmed", "s": "self_reported"}[row["state"]]): row["count"]
            for row in rows
        }
    )


async def test_a_random_history_is_counted_as_a_naive_model_counts_it(signatures: CountingHarness) -> None:
    chance = random.Random(3)
    people = [f"person {number}" for number in range(400)]
    model: dict[str, tuple[str, str, bool]] = {}
    events = []
    for number in range(1, 3001):
        person = chance.choice(people)
        event_type = chance.choice(["submitted"] * 5 + ["confirmed", "withdrawn", "invalidated", "reinstated"])
        state, country, invalidated = model.get(person, ("", "", False))
        if event_type != "submitted" and not state:
            continue
        event: msgspec.Struct
        if event_type == "submitted":
            new = chance.choice(COUNTRIES)
            event = signature(person, country=new)
            if state in {"", "withdrawn"}:
                state, country = "recorded", new
        elif event_type == "confirmed":
            event = confirmed(person)
            state = "confirmed" if state == "recorded" else state
        elif event_type == "withdrawn":
            event, state = REFERENCE, "withdrawn"
        else:
            event = decision(person, number, reason="bulk")
            invalidated = event_type == "invalidated"
        model[person] = (state, country, invalidated)
        events.append((event_type, key_of(person), event))
    await signatures.publish_all(events)
    await signatures.count_all()
    expected = Counter(
        (country, state) for state, country, invalidated in model.values() if not invalidated and state != "withdrawn"
    )
    assert await stored_totals(signatures) == expected
    assert await published_totals(signatures) == expected
    assert len(await signatures.rows()) == len(model)
    assert await signatures.dead_letters() == []


async def test_of_each_person_the_first_submission_is_kept_and_others_with_other_data(
    signatures: CountingHarness,
) -> None:
    ana = key_of("ana")
    for name in ("ana", "ana", "ana maria", "ana", "ana maria"):
        await signatures.publish("submitted", ana, signature(name))
    await signatures.count_all()
    rows = await signatures.pool.fetch('SELECT "offset", further, sealed FROM submissions ORDER BY "offset"')
    assert [(row["offset"], row["further"], bytes(row["sealed"])) for row in rows] == [
        (0, False, b"sealed data of ana"),
        (2, True, b"sealed data of ana maria"),
    ]


async def test_the_same_action_posted_a_hundred_times_is_one_row_and_one_count(signatures: CountingHarness) -> None:
    await signatures.publish_all([("submitted", key_of("ana"), signature("ana"))] * 100)
    await signatures.count_all()
    assert await stored_totals(signatures) == await published_totals(signatures) == {("FR", "recorded"): 1}


async def test_every_counted_batch_tells_its_offsets_also_when_nothing_changed(signatures: CountingHarness) -> None:
    await signatures.publish("submitted", key_of("ana"), signature("ana"))
    await signatures.count_all()
    await signatures.publish("submitted", key_of("ana"), signature("ana"))
    await signatures.count_all()
    batches = await signatures.tallies()
    assert [(batch.first, batch.next, len(batch.deltas)) for batch in batches] == [(0, 1, 1), (1, 2, 0)]
    assert {batch.source for batch in batches} == {signatures.topic}


async def test_a_batch_of_many_cells_leaves_in_parts(signatures: CountingHarness) -> None:
    keys = [key for number in range(10_000) if partition_of(key := key_of(str(number)), PARTITIONS) == 0]
    cells = [
        ("submitted", key, signature(str(number), language=f"l{number}")) for number, key in enumerate(keys[:2200])
    ]
    await signatures.publish_all(cells)
    await signatures.count_all()
    batches = await signatures.tallies()
    assert max(batch.parts for batch in batches) > 1
    assert all(len(batch.deltas) <= 2000 for batch in batches)
    assert (await published_totals(signatures)).total() == 2200


async def test_names_are_shown_for_the_submission_whose_link_was_pressed(signatures: CountingHarness) -> None:
    stranger, ana = signature("stranger", public_name=True), signature("ana", public_name=True)
    await signatures.publish("submitted", key_of("ana"), stranger)
    await signatures.publish("submitted", key_of("ana"), ana)
    await signatures.publish("confirmed", key_of("ana"), confirmed("ana"))
    await signatures.publish("submitted", key_of("bea"), signature("bea", public_name=True))
    await signatures.publish(
        "submitted", key_of("cid"), signature("cid", public_name=True, confirmed_at="2026-12-01T12:00:00Z")
    )
    await signatures.publish("submitted", key_of("dan"), signature("dan", public_name=True))
    await signatures.publish("submitted", key_of("dan"), signature("dan, privately"))
    await signatures.publish("confirmed", key_of("dan"), confirmed("dan"))
    await signatures.publish("confirmed", key_of("dan"), confirmed("dan, privately"))
    await signatures.count_all()
    shown = await signatures.pool.fetch("""
        SELECT s.sealed FROM signatories n JOIN submissions s USING (topic, partition, "offset") ORDER BY 1
    """)
    assert [bytes(row["sealed"]) for row in shown] == [b"sealed data of ana", b"sealed data of cid"]


async def test_the_row_says_by_what_and_when_it_counts(signatures: CountingHarness) -> None:
    partition, offset = await signatures.publish("submitted", key_of("ana"), signature("ana", section="amnesty-fr"))
    await signatures.count_all()
    row = (await signatures.rows())[key_of("ana")]
    dimensions = json.loads(row["of"])
    del dimensions["id"]
    assert dimensions == {
        "campaign": "w4r-2026", "case": "azat", "subject": "free-azat", "section": "amnesty-fr", "kind": "signature",
        "channel": "web", "country": "FR", "language": "fr",
    }  # fmt: skip
    record = (await signatures.records(signatures.topic, PARTITIONS))[0]
    assert (row["partition"], row["first_offset"], row["minute"]) == (partition, offset, record.timestamp // 60_000)
