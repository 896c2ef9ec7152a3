"""Importing campaigns into a real database: the stored state and the published events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import msgspec
import pytest

from deploy.local.endpoints import Endpoints
from services.marathon.actions.apply_tallies import TallyRecords, apply_tallies
from services.marathon.actions.import_campaign import import_campaign
from services.marathon.actions.keys import create_key, revoke_key
from services.marathon.domain.campaign_changes import ImportPlan
from services.marathon.domain.campaign_file import CampaignFileError
from services.marathon.domain.ledger import Part
from services.marathon.storage import access, campaigns, published
from shared import topics
from shared.catalog import Catalog
from shared.database import connected
from shared.errors import SetupError
from shared.events.cloudevents import parse_event_type
from shared.kafka.outbox import OutboxRelay
from shared.tasks import Tasks
from shared.web.views.campaigns import campaign_view
from tests.support.campaign_files import Wrapper, campaign_file
from tests.support.tallies import LEDGER_KEY, Chain, delta, eventually, pool_on

MakeDatabase = Callable[[str], Awaitable[str]]
NOW = 1_795_000_000.0
LATER = "2026-12-01T00:00:00Z"


class Marathon:
    """marathon's database, and the commands on it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.wrapper = Wrapper()

    async def import_(self, text: str) -> ImportPlan:
        return await import_campaign(self.connection, text, wrapper=self.wrapper, now=NOW)

    async def refusals(self, text: str) -> list[str]:
        with pytest.raises(CampaignFileError) as caught:
            await self.import_(text)
        return [".".join(map(str, complaint.path)) for complaint in caught.value.faults]

    async def outbox_events(self) -> list[tuple[str, str, str, Any]]:
        """Empty the outbox; return topic, key, event type and event of each record."""
        rows = await self.connection.fetch("DELETE FROM outbox RETURNING *")
        return [
            (
                row["topic"],
                row["key"].decode(),
                parse_event_type(msgspec.msgpack.decode(row["headers"], type=list[tuple[str, bytes]])).name,
                msgspec.json.decode(row["value"]),
            )
            for row in sorted(rows, key=lambda row: row["id"])
        ]

    async def sign(self, case: str, campaign: str = "c", evidence: str = "recorded", change: int = 1) -> None:
        batch = Chain(source=case).batch(delta(campaign, change, case=case, evidence=evidence))
        part = Part.of(0, batch, msgspec.json.encode(batch))
        async with self.connection.transaction():
            await apply_tallies(self.connection, TallyRecords(case, [part]), LEDGER_KEY)


@pytest.fixture
async def marathon(make_database: MakeDatabase) -> AsyncIterator[Marathon]:
    async with _connected(await make_database("marathon")) as connection:
        yield Marathon(connection)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_first_import_tells_keys_campaign_cases_and_first_totals(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    events = await marathon.outbox_events()
    assert [(topic, key, kind) for topic, key, kind, _ in events] == [
        ("marathon.keys.v1", "c/dedupe/1", "campaign-keys-created"),
        ("marathon.keys.v1", "c/seal/1", "campaign-keys-created"),
        ("marathon.keys.v1", "c/token/1", "campaign-keys-created"),
        ("marathon.cases.v1", "campaign/c", "campaign-changed"),
        ("marathon.cases.v1", "case/ana", "case-changed"),
        ("marathon.cases.v1", "case/bo", "case-changed"),
        ("marathon.totals.v1", "c", "totals-changed"),
    ]
    totals = events[-1][3]
    assert (totals["version"], totals["total"], totals["by_case"]) == (1, 0, {"ana": 0, "bo": 0})


async def test_importing_the_same_again_changes_nothing_and_tells_nobody(marathon: Marathon) -> None:
    first = await marathon.import_(campaign_file())
    await marathon.outbox_events()
    again = await marathon.import_(campaign_file())
    assert (first.changed, again.changed) == (True, False)
    assert again.campaign.version == 1
    assert await marathon.outbox_events() == []
    assert marathon.wrapper.created == 3


async def test_importing_a_changed_file_raises_the_version_and_keeps_the_keys(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    await marathon.outbox_events()
    await marathon.import_(campaign_file(goal=500))
    events = await marathon.outbox_events()
    assert [(key, event["version"]) for _, key, _, event in events] == [("campaign/c", 2)]
    assert marathon.wrapper.created == 3


async def test_a_campaign_of_1500_cases_is_imported_told_and_read_and_again_changes_nothing(
    make_database: MakeDatabase, make_topic: Callable[..., Awaitable[str]], platform: Endpoints
) -> None:
    slugs = tuple(f"the-case-of-number-{number:05}" for number in range(1_500))
    text = campaign_file(cases=slugs)
    topic = replace(topics.CASES, name=await make_topic(topics.CASES))
    catalog = Catalog(platform["kafka"], source_topics=(topic,))
    async with pool_on(await make_database("marathon")) as pool, Tasks() as tasks:
        async with connected(pool) as connection:
            marathon = Marathon(connection)
            assert len((await marathon.import_(text)).cases) == len(slugs)
            # This test has a topic of its own.
            await connection.execute("DELETE FROM outbox WHERE topic <> $1", topics.CASES.name)
            await connection.execute("UPDATE outbox SET topic = $1", topic.name)
        tasks.start("relay", OutboxRelay(pool, platform["kafka"], service="test").run)
        tasks.start("catalog", catalog.run)
        await eventually(partial(_case_count, catalog), len(slugs))
        assert catalog.campaigns["c"].cases == slugs
        assert len(campaign_view(catalog, "c", now=NOW, language="en").cases) == len(slugs)
        async with connected(pool) as connection:
            assert not (await Marathon(connection).import_(text)).changed
            assert await connection.fetchval("SELECT count(*) FROM outbox") == 0


async def _case_count(catalog: Catalog) -> int:
    return len(catalog.cases)


async def test_what_no_event_can_hold_is_refused_with_its_place(marathon: Marathon) -> None:
    long_text = dict.fromkeys(("en", *(f"aa-{number:02}" for number in range(60))), "x" * 20000)
    assert await marathon.refusals(campaign_file(contact={"imprint": long_text})) == ["campaign"]
    assert await marathon.connection.fetchval("SELECT count(*) FROM campaigns") == 0


async def test_a_signed_text_changes_only_with_a_new_version(marathon: Marathon) -> None:
    await marathon.import_(campaign_file(opens=LATER))
    await marathon.sign("ana")
    # Both cases have the same text: only that of the signed one may not change before the campaign opens.
    changed = campaign_file(opens=LATER).replace("We ask for their freedom.", "We demand it.")
    assert await marathon.refusals(changed) == ["cases.0.petition.text"]
    versioned = changed.replace("slug: free-ana", "slug: free-ana\n    version: 2")
    changes = await marathon.import_(versioned)
    assert [case.petition.version for case in changes.cases if case.petition] == [2, 2]


async def test_a_text_of_an_open_campaign_changes_only_with_a_new_version_though_nothing_is_counted_yet(
    marathon: Marathon,
) -> None:
    await marathon.import_(campaign_file())
    changed = campaign_file().replace("We ask for their freedom.", "We demand it.")
    assert await marathon.refusals(changed) == ["cases.0.petition.text", "cases.1.petition.text"]


async def test_slugs_are_unique_across_campaigns(marathon: Marathon) -> None:
    await marathon.import_(campaign_file("one"))
    assert await marathon.refusals(campaign_file("two")) == ["cases.0.slug", "cases.1.slug"]
    assert (await marathon.import_(campaign_file("two", cases=("cy",)))).campaign.version == 1


async def test_a_refused_file_stores_nothing(marathon: Marathon) -> None:
    assert await marathon.refusals(campaign_file(policies={"confirmation": "never"})) == [
        "campaign.policies.confirmation"
    ]
    assert await marathon.outbox_events() == []
    assert await marathon.connection.fetchval("SELECT count(*) FROM campaigns") == 0


async def test_a_petition_stays_with_its_case(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    text = campaign_file().replace("free-ana", "free-x").replace("free-bo", "free-ana").replace("free-x", "free-bo")
    assert await marathon.refusals(text) == ["cases.0.petition.slug", "cases.1.petition.slug"]


async def test_another_choice_of_public_evidence_goes_on_public_record(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    await marathon.sign("ana", change=40)
    await marathon.import_(campaign_file(policies={"public_evidence": ["confirmed"]}))
    record = await marathon.connection.fetch("SELECT reason, change FROM corrections")
    assert [tuple(row) for row in record] == [("policy-changed", -40)]


async def test_what_safety_mode_cuts_off_a_total_goes_on_public_record(marathon: Marathon) -> None:
    required = {"confirmation": "required"}
    await marathon.import_(campaign_file(policies=required))
    await marathon.sign("ana", evidence="confirmed", change=45)
    await marathon.import_(campaign_file(policies={**required, "safety_mode": True}))
    record = await marathon.connection.fetch("SELECT reason, change FROM corrections")
    assert [tuple(row) for row in record] == [("policy-changed", -5)]


async def test_imports_at_the_same_time_come_one_after_the_other(make_database: MakeDatabase) -> None:
    url = await make_database("marathon")

    async def import_(goal: int) -> int:
        async with _connected(url) as connection:
            return (await Marathon(connection).import_(campaign_file(goal=goal))).campaign.version

    versions = await asyncio.gather(*(import_(goal) for goal in range(1, 6)))
    assert sorted(versions) == [1, 2, 3, 4, 5]


async def test_of_a_partners_key_only_the_hash_is_kept_and_told(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    await marathon.outbox_events()
    key = await create_key(
        marathon.connection,
        "c",
        scopes=["signatures:batch"],
        section=None,
        now=NOW,
    )
    ((topic, event_key, kind, event),) = await marathon.outbox_events()
    assert (topic, event_key, kind) == ("marathon.access.v1", key.access.id, "access-changed")
    assert event["hash"] == key.access.hash != key.text
    stored = await marathon.connection.fetchval("SELECT row_to_json(access)::text FROM access")
    assert key.text not in stored


async def test_what_is_stored_already_is_not_taken_for_new(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    connection = marathon.connection
    key = await create_key(connection, "c", scopes=["signatures:batch"], section=None, now=NOW)
    (document,) = await published.documents(connection, ["c"])
    with pytest.raises(asyncpg.UniqueViolationError):
        await campaigns.put_keys(connection, await campaigns.all_keys(connection))
    with pytest.raises(asyncpg.UniqueViolationError):
        await access.put(connection, key.access, NOW)
    with pytest.raises(asyncpg.UniqueViolationError):
        await published.put_first(connection, document, NOW)


async def test_a_revoked_key_is_told_as_revoked(marathon: Marathon) -> None:
    await marathon.import_(campaign_file())
    key = await create_key(marathon.connection, "c", scopes=["signatures:batch"], section=None, now=NOW)
    await marathon.outbox_events()
    await revoke_key(marathon.connection, key.access.id, now=NOW)
    ((_, event_key, _, event),) = await marathon.outbox_events()
    assert (event_key, event["revoked"]) == (key.access.id, True)
    with pytest.raises(SetupError):
        await revoke_key(marathon.connection, "nobody", now=NOW)


@pytest.mark.parametrize(
    ("campaign", "scope", "section"),
    [("nothing", "signatures:batch", None), ("c", "everything", None), ("c", "signatures:batch", "nowhere")],
)
async def test_a_key_for_what_does_not_exist_is_refused(
    marathon: Marathon, campaign: str, scope: str, section: str | None
) -> None:
    await marathon.import_(campaign_file())
    with pytest.raises(SetupError):
        await create_key(marathon.connection, campaign, scopes=[scope], section=section, now=NOW)
