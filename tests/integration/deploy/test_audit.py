"""`mille audit` on the whole system: it agrees with what is right, and finds whatever was changed by hand."""

# ruff: noqa: S608  SQL of the test's own, on a database of its own

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from deploy.audit.audit import audit
from services.marathon.actions.outbox_records import outbox_record
from shared.events.marathon import TotalsChanged
from tests.support.campaign_files import campaign_file
from tests.support.commands import mille
from tests.support.running import MilleRun
from tests.support.waiting import wait_for

SIGNED = 60


@dataclass(frozen=True)
class Campaign:
    """A campaign that sixty people have signed, every third through a partner who confirmed their address."""

    system: MilleRun
    slug: str

    def total(self) -> int:
        at = self.system.endpoints()["marathon"]
        return int(httpx.get(f"{at}/v1/campaigns/{self.slug}/totals").json()["total"])

    async def differences(self) -> list[str]:
        return (await audit(self.system.endpoints())).differences

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.system.endpoints()["databases"][service])
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def campaign(system: MilleRun, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    slug = f"audit-{secrets.token_hex(3)}"
    file = tmp_path_factory.mktemp("audit") / "campaign.yaml"
    file.write_text(campaign_file(slug, cases=(f"ana-{slug}",), policies={"public_threshold": 1}))
    imported = mille(system.home.root, "campaigns", "import", str(file))
    assert imported.code == 0, imported.output
    key = mille(system.home.root, "keys", "create", "--campaign", slug, "--scope", "signatures:batch").output.strip()
    items = [
        {
            "petition": f"free-ana-{slug}",
            "given_name": "Ana",
            "family_name": "Diaz",
            "email": f"{number}-{slug}@example.org",
            "country": ("FR", "BE", "CH")[number % 3],
            "locale": "fr",
            "consent": {"privacy": True, "updates": False, "public_name": False},
            **({"confirmed_at": "2026-11-01T00:00:00Z"} if number % 3 == 0 else {}),
        }
        for number in range(SIGNED)
    ]
    address = f"{system.endpoints()['petitions']}/v1/signatures/batch"
    headers = {"Authorization": f"Bearer {key}"}
    # Each person signs twice.
    for _ in range(2):
        response = httpx.post(address, json={"items": items}, headers=headers, timeout=30)
        assert response.json() == {"accepted": SIGNED, "rejected": []}
    campaign_ = Campaign(system, slug)
    wait_for(lambda: campaign_.total() == SIGNED, "the count")
    return campaign_


def test_it_agrees_and_names_what_it_checked(campaign: Campaign) -> None:
    result = mille(campaign.system.home.root, "audit")
    assert result.code == 0, result.output
    assert "everything agrees" in result.output
    assert "petitions.signatures.v1/3" in result.output


ONE_ROW = """key = (SELECT key FROM signatures JOIN dimensions ON dimensions.id = signatures.dimensions
    WHERE campaign = $1 ORDER BY key LIMIT 1)"""
INVENTED = "'\\x00000000000000000000000000000000'::bytea"
LAST_ROW = """source = 'petitions.signatures.v1' AND partition = 0 AND $1 <> ''
    AND first = (SELECT max(first) FROM ledger WHERE source = 'petitions.signatures.v1' AND partition = 0)"""
ONE_CELL = "campaign = $1 AND country = 'FR' AND evidence = 'confirmed'"

RAISE = """UPDATE published SET version = version + 200000,
    document = jsonb_set(document, '{version}', to_jsonb(version + 200000)) WHERE campaign = $1"""


class Tampering(NamedTuple):
    """A manual change to a service's database, the statement that undoes it, and words of the audit's report."""

    service: str
    change: str
    undo: str
    told: str


TAMPERINGS = {
    "a row is taken out of the count": Tampering(
        "petitions",
        f"UPDATE signatures SET invalidated = true WHERE {ONE_ROW}",
        f"UPDATE signatures SET invalidated = false WHERE {ONE_ROW}",
        "the ledger has",
    ),
    "a row begins elsewhere": Tampering(
        "petitions",
        f"UPDATE signatures SET first_offset = first_offset + 1 WHERE {ONE_ROW}",
        f"UPDATE signatures SET first_offset = first_offset - 1 WHERE {ONE_ROW}",
        "was not first submitted",
    ),
    "a row is invented": Tampering(
        "petitions",
        f"""INSERT INTO signatures SELECT first_offset, applied_offset, opened, digest, dimensions, minute, partition,
        state, invalidated, {INVENTED} FROM signatures WHERE {ONE_ROW}""",
        f"DELETE FROM signatures WHERE key = {INVENTED} AND $1 <> ''",
        "was not first submitted",
    ),
    "a total is raised": Tampering(
        "marathon",
        f"UPDATE cells SET count = count + 1 WHERE {ONE_CELL}",
        f"UPDATE cells SET count = count - 1 WHERE {ONE_CELL}",
        "are stored, the ledger adds up to",
    ),
    "a hash is changed": Tampering(
        "marathon",
        f"UPDATE ledger SET hash = set_byte(hash, 0, 255 - get_byte(hash, 0)) WHERE {LAST_ROW}",
        f"UPDATE ledger SET hash = set_byte(hash, 0, 255 - get_byte(hash, 0)) WHERE {LAST_ROW}",
        "does not have the hash that it should",
    ),
    "a tally batch is rewritten": Tampering(
        "marathon",
        f"""UPDATE ledger SET "values" = array[' '::bytea || "values"[1]] WHERE {LAST_ROW}""",
        f"""UPDATE ledger SET "values" = array[substring("values"[1] FROM 2)] WHERE {LAST_ROW}""",
        "was changed",
    ),
    "a tally batch is made unreadable": Tampering(
        "marathon",
        f"""UPDATE ledger SET "values" = array['!'::bytea || "values"[1]] WHERE {LAST_ROW}""",
        f"""UPDATE ledger SET "values" = array[substring("values"[1] FROM 2)] WHERE {LAST_ROW}""",
        "cannot be read",
    ),
    "a range is shifted": Tampering(
        "marathon",
        f"UPDATE ledger SET first = first + 1 WHERE {LAST_ROW}",
        f"UPDATE ledger SET first = first - 1 WHERE {LAST_ROW}",
        "does not begin where the row before it ends",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS.keys())
async def test_whatever_is_changed_by_hand_is_found(campaign: Campaign, tampering: Tampering) -> None:
    async with campaign.database(tampering.service) as connection:
        assert await connection.execute(tampering.change, campaign.slug) in {"UPDATE 1", "INSERT 0 1"}
        try:
            assert any(tampering.told in difference for difference in await campaign.differences())
        finally:
            assert await connection.execute(tampering.undo, campaign.slug) in {"UPDATE 1", "DELETE 1"}


async def test_a_row_that_vanished_is_found(campaign: Campaign) -> None:
    async with campaign.database("petitions") as connection:
        await connection.execute("CREATE TEMPORARY TABLE kept AS TABLE signatures WITH NO DATA")
        moved = f"WITH gone AS (DELETE FROM signatures WHERE {ONE_ROW} RETURNING *) INSERT INTO kept TABLE gone"
        assert await connection.execute(moved, campaign.slug) == "INSERT 0 1"
        try:
            found = await campaign.differences()
        finally:
            await connection.execute("INSERT INTO signatures TABLE kept")
    assert any("has no row" in difference for difference in found)
    assert any("the ledger has" in difference for difference in found)
    assert await campaign.differences() == []


async def test_a_published_total_that_was_rewritten_is_found(campaign: Campaign) -> None:
    at = campaign.system.endpoints()
    async with campaign.database("marathon") as connection:
        document = await connection.fetchval("SELECT document FROM published WHERE campaign = $1", campaign.slug)
        true = msgspec.json.decode(document, type=TotalsChanged)
        forged = msgspec.structs.replace(
            true, version=true.version + 100_000, total=SIGNED + 9, public_total=SIGNED + 9
        )
        record = outbox_record(forged, time.time())
        producer = AIOKafkaProducer(bootstrap_servers=at["kafka"])
        await producer.start()
        try:
            await producer.send_and_wait(
                record.topic, record.value, key=record.key, headers=record.headers, partition=0
            )
        finally:
            await producer.stop()
        wait_for(lambda: campaign.total() == SIGNED + 9, "the forged total")
        try:
            found = await campaign.differences()
        finally:
            await connection.execute(RAISE, campaign.slug)
    assert any(f"total is {SIGNED + 9}, the ledger gives {SIGNED}" in difference for difference in found)
    wait_for(lambda: campaign.total() == SIGNED, "the true total")
    assert await campaign.differences() == []


def test_an_audit_says_in_a_sentence_that_nothing_is_up(tmp_path: Any) -> None:
    result = mille(tmp_path, "audit")
    assert result.code == 1
    assert result.output.startswith("mille audit: no platform is up")
