"""Counting with a real broker and database: every action once, and others told of it once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from deploy.local.endpoints import Endpoints
from services.petitions.consumers import SIGNATURES
from shared.events.actions import ActionConfirmed, ActionInvalidated, ActionReference
from shared.kafka.partitions import partition_of
from tests.support.counting import PARTITIONS, World, digest_of, key_of, signature, world

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
COUNTRIES = ("FR", "GB", "PE", "DZ")


def confirmed(person: str) -> ActionConfirmed:
    return ActionConfirmed(campaign="w4r-2026", case="azat", subject="free-azat", digest=digest_of(person))


@pytest.fixture
async def signatures(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[World]:
    async with world(SIGNATURES, await make_database("petitions"), platform["kafka"]) as made:
        yield made


async def told(made: World) -> Counter[tuple[str, str]]:
    """What others were told, by country and evidence; the batches are contiguous for each partition."""
    sums: Counter[tuple[str, str]] = Counter()
    expected = dict.fromkeys(range(PARTITIONS), (0, 0))
    for batch in await made.tallies():
        assert (batch.first, batch.part) == expected[batch.partition]
        last = batch.part == batch.parts - 1
        expected[batch.partition] = (batch.next, 0) if last else (batch.first, batch.part + 1)
        for delta in batch.deltas:
            sums[delta.country, delta.evidence] += delta.change
    assert {partition: first for partition, (first, _) in expected.items()} == await made.positions()
    return +sums


async def held(made: World) -> Counter[tuple[str, str]]:
    """What is held, by SQL of its own."""
    rows = await made.pool.fetch("""
        SELECT d.country, s.state::text AS state, count(*) FROM signatures s JOIN dimensions d ON d.id = s.dimensions
        WHERE state IN ('r', 'c', 's') AND NOT invalidated GROUP BY 1, 2
    """)
    return Counter(
        {
            (row["country"], {"r": "recorded", "c": "confirmed", "s": "self_reported"}[row["state"]]): row["count"]
            for row in rows
        }
    )


async def test_a_random_history_is_counted_as_a_naive_model_counts_it(signatures: World) -> None:
    chance = random.Random(3)
    people = [f"person {number}" for number in range(400)]
    model: dict[str, tuple[str, str, bool]] = {}
    events = []
    for _ in range(3000):
        person = chance.choice(people)
        what = chance.choice(["submitted"] * 5 + ["confirmed", "withdrawn", "invalidated", "reinstated"])
        state, country, marked = model.get(person, ("", "", False))
        if what != "submitted" and not state:
            continue
        event: msgspec.Struct
        if what == "submitted":
            new = chance.choice(COUNTRIES)
            event = signature(person, country=new)
            if state in {"", "withdrawn"}:
                state, country = "recorded", new
        elif what == "confirmed":
            event = confirmed(person)
            state = "confirmed" if state == "recorded" else state
        elif what == "withdrawn":
            event, state = REFERENCE, "withdrawn"
        else:
            event = ActionInvalidated(campaign="w4r-2026", case="azat", subject="free-azat", reason="bulk")
            marked = what == "invalidated"
        model[person] = (state, country, marked)
        events.append((what, key_of(person), event))
    await signatures.say_all(events)
    await signatures.count()
    expected = Counter(
        (country, state) for state, country, marked in model.values() if not marked and state != "withdrawn"
    )
    assert await held(signatures) == expected
    assert await told(signatures) == expected
    assert len(await signatures.rows()) == len(model)
    assert await signatures.letters() == []


async def test_of_each_person_the_first_submission_is_kept_and_others_with_other_data(signatures: World) -> None:
    ana = key_of("ana")
    for name in ("ana", "ana", "ana maria", "ana", "ana maria"):
        await signatures.say("submitted", ana, signature(name))
    await signatures.count()
    kept = await signatures.pool.fetch('SELECT "offset", further, sealed FROM submissions ORDER BY "offset"')
    assert [(row["offset"], row["further"], bytes(row["sealed"])) for row in kept] == [
        (0, False, b"sealed data of ana"),
        (2, True, b"sealed data of ana maria"),
    ]


async def test_the_same_action_posted_a_hundred_times_is_one_row_and_one_count(signatures: World) -> None:
    await signatures.say_all([("submitted", key_of("ana"), signature("ana"))] * 100)
    await signatures.count()
    assert await held(signatures) == await told(signatures) == {("FR", "recorded"): 1}


async def test_every_counted_batch_tells_its_offsets_also_when_nothing_changed(signatures: World) -> None:
    await signatures.say("submitted", key_of("ana"), signature("ana"))
    await signatures.count()
    await signatures.say("submitted", key_of("ana"), signature("ana"))
    await signatures.count()
    batches = await signatures.tallies()
    assert [(batch.first, batch.next, len(batch.deltas)) for batch in batches] == [(0, 1, 1), (1, 2, 0)]
    assert {batch.source for batch in batches} == {signatures.topic}


async def test_a_batch_of_many_cells_leaves_in_parts(signatures: World) -> None:
    keys = [key for number in range(10_000) if partition_of(key := key_of(str(number)), PARTITIONS) == 0]
    cells = [
        ("submitted", key, signature(str(number), language=f"l{number}")) for number, key in enumerate(keys[:2200])
    ]
    await signatures.say_all(cells)
    await signatures.count()
    batches = await signatures.tallies()
    assert max(batch.parts for batch in batches) > 1
    assert all(len(batch.deltas) <= 2000 for batch in batches)
    assert (await told(signatures)).total() == 2200


async def test_names_are_shown_for_the_submission_whose_link_was_pressed(signatures: World) -> None:
    stranger, ana = signature("stranger", public_name=True), signature("ana", public_name=True)
    await signatures.say("submitted", key_of("ana"), stranger)
    await signatures.say("submitted", key_of("ana"), ana)
    await signatures.say("confirmed", key_of("ana"), confirmed("ana"))
    await signatures.say("submitted", key_of("bea"), signature("bea", public_name=True))
    await signatures.say(
        "submitted", key_of("cid"), signature("cid", public_name=True, confirmed_at="2026-12-01T12:00:00Z")
    )
    await signatures.say("submitted", key_of("dan"), signature("dan", public_name=True))
    await signatures.say("submitted", key_of("dan"), signature("dan, privately"))
    await signatures.say("confirmed", key_of("dan"), confirmed("dan"))
    await signatures.say("confirmed", key_of("dan"), confirmed("dan, privately"))
    await signatures.count()
    shown = await signatures.pool.fetch("""
        SELECT s.sealed FROM signatories n JOIN submissions s USING (topic, partition, "offset") ORDER BY 1
    """)
    assert [bytes(row["sealed"]) for row in shown] == [b"sealed data of ana", b"sealed data of cid"]


async def test_the_row_says_by_what_and_when_it_counts(signatures: World) -> None:
    partition, offset = await signatures.say("submitted", key_of("ana"), signature("ana", section="amnesty-fr"))
    await signatures.count()
    row = (await signatures.rows())[key_of("ana")]
    of = json.loads(row["of"])
    del of["id"]
    assert of == {
        "campaign": "w4r-2026", "case": "azat", "subject": "free-azat", "section": "amnesty-fr", "kind": "signature",
        "channel": "web", "country": "FR", "language": "fr",
    }  # fmt: skip
    record = (await signatures.records(signatures.topic, PARTITIONS))[0]
    assert (row["partition"], row["first_offset"], row["minute"]) == (partition, offset, record.timestamp // 60_000)
