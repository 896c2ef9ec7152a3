"""The events of notifications about mails and preferences: once each, and without personal data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.endpoints import Endpoints
from deploy.recovery import suppressed_recipients
from services.notifications.sender.compose.signing import Signer
from shared import topics
from shared.counting.event_decoder import decode_keyed_hash
from shared.privacy.sealing import Person
from tests.support.dkim_keys import is_verified, write_key
from tests.support.intakes import read_records
from tests.support.mailing import NotificationsHarness, notifications_harness, wait_until
from tests.support.needle_search import NeedleSearch
from tests.support.post_office import run_smtp_server
from tests.support.preferences_site import preferences_client

ANA = "ana.planted@example.org"


@pytest.fixture
async def harness(
    platform: Endpoints,
    make_database: Callable[[str], Awaitable[str]],
    make_topic: Callable[..., Awaitable[str]],
    tmp_path: Path,
) -> AsyncIterator[NotificationsHarness]:
    url = await make_database("notifications")
    async with (
        run_smtp_server() as smtp_server,
        notifications_harness(platform["kafka"], url, make_topic, smtp_server, tmp_path) as harness,
    ):
        yield harness


async def wait_for_events(
    harness: NotificationsHarness, platform: Endpoints, count: int
) -> list[tuple[str, dict[str, Any]]]:
    """Wait for the first `count` events about Ana and return their type and content; nothing in them names her."""
    events: list[tuple[str, dict[str, Any]]] = []

    async def have_arrived() -> bool:
        events.clear()
        for record in await read_records(platform, topics.DELIVERIES.name, 0, 0):
            if record.key == harness.recipient_keys.recipient_key(ANA):
                assert not NeedleSearch(ANA).is_in((record.value or b"") + (record.key or b""))
                events.append((dict(record.headers)["ce_type"].decode(), json.loads(record.value or b"{}")))
        return len(events) >= count

    await wait_until(have_arrived)
    return events


async def sign(harness: NotificationsHarness, campaign: str, **options: Any) -> None:
    await harness.upstream.sign(campaign, Person(given_name="Ana", family_name="Díaz", email=ANA), **options)
    await harness.wait_until_settled()


async def suppressions(harness: NotificationsHarness) -> dict[bytes, str]:
    return dict(map(tuple, await harness.pool.fetch("SELECT recipient, reason FROM suppressions")))


async def test_a_bounce_is_told_once_with_its_answer(harness: NotificationsHarness, platform: Endpoints) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {ANA: f"550 5.1.1 no {ANA} here"}
    async with harness.running():
        await sign(harness, campaign)
        [(name, event)] = await wait_for_events(harness, platform, 1)
        await sign(harness, campaign, petition="another")
        await harness.wait_until_planned()
    assert name == "delivery-bounced"
    assert event.pop("bounced_at")
    assert decode_keyed_hash(event.pop("address")) == harness.recipient_keys.address_key(ANA)
    assert event == {"campaign": campaign, "template": "confirmation", "acts": 1, "answer": 550, "mailbox_gone": True}
    assert len(await wait_for_events(harness, platform, 1)) == 1


async def test_a_refused_message_is_a_bounce_of_a_mailbox_that_is_there(
    harness: NotificationsHarness, platform: Endpoints
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {ANA: "552 5.2.2 the mailbox is full"}
    async with harness.running():
        await sign(harness, campaign)
        [(name, event)] = await wait_for_events(harness, platform, 1)
    assert (name, event["answer"], event["mailbox_gone"]) == ("delivery-bounced", 552, False)
    assert event["address"] is None
    assert await suppressions(harness) == {}


async def test_who_unsubscribes_and_comes_back_is_told_once_each(
    harness: NotificationsHarness, platform: Endpoints
) -> None:
    token = harness.recipient_keys.token(harness.recipient_keys.recipient_key(ANA))
    async with harness.running(), preferences_client(harness) as web:
        for choice in ("none", "none", "some", "some"):
            await web.post(f"/preferences/{token}", data={"mail": choice})
        await web.post(f"/v1/unsubscribe/{token}", data={"List-Unsubscribe": "One-Click"})
        events = await wait_for_events(harness, platform, 3)
    assert [name for name, _ in events] == ["delivery-unsubscribed", "delivery-resubscribed", "delivery-unsubscribed"]
    assert [set(event) for _, event in events] == [{"unsubscribed_at"}, {"resubscribed_at"}, {"unsubscribed_at"}]


async def test_a_restored_database_is_told_again_who_wants_no_mail(
    harness: NotificationsHarness, platform: Endpoints
) -> None:
    ana, bo = harness.recipient_keys.recipient_key(ANA), harness.recipient_keys.recipient_key("bo@example.org")
    gone, gone_key = (
        harness.recipient_keys.address_key("gone@example.org"),
        harness.recipient_keys.recipient_key("gone@example.org"),
    )
    async with harness.running(), preferences_client(harness) as web:
        for recipient in (ana, bo):
            await web.post(f"/v1/unsubscribe/{harness.recipient_keys.token(recipient)}")
        await web.post(f"/preferences/{harness.recipient_keys.token(bo)}", data={"mail": "some"})
        await wait_for_events(harness, platform, 1)
        campaign = await harness.upstream.campaign("w4r")
        harness.smtp_server.rcpt_answers = {"gone@example.org": "550 5.1.1 nobody here"}
        await harness.upstream.sign(campaign, Person(given_name="G", family_name="H", email="gone@example.org"))
        await harness.wait_until_settled()

        async def sent() -> bool:
            return bool(await harness.pool.fetchval("SELECT count(*) = 0 FROM outbox"))

        await wait_until(sent)
    # As a backup from before has it.
    await harness.pool.execute("DELETE FROM suppressions")
    await harness.pool.execute("DELETE FROM gone_addresses")
    at: Endpoints = {**platform, "databases": {**platform["databases"], "notifications": harness.settings.database_url}}
    found = await suppressed_recipients.examine(at)
    assert await suppressions(harness) == {}
    assert (ana in found.recipients, bo in found.recipients) == (True, False)
    assert found.recipients_by_address()[gone] == gone_key
    await suppressed_recipients.repair(at, found, "the disk died")
    assert (await suppressions(harness))[ana] == "unsubscribed"
    assert await harness.pool.fetchval("SELECT recipient FROM gone_addresses WHERE address = $1", gone) == gone_key
    second = await suppressed_recipients.examine(at)
    assert ana not in second.recipients
    assert gone not in second.recipients_by_address()
    assert await harness.pool.fetchval("SELECT reason FROM recoveries") == "the disk died"


async def test_a_mail_arrives_with_a_signature_that_others_can_verify(
    harness: NotificationsHarness, tmp_path: Path
) -> None:
    key = write_key(tmp_path / "dkim.key")
    harness.settings = harness.settings.model_copy(update={"dkim_key_file": key, "dkim_selector": "autumn"})
    signer = Signer.load(key, "autumn", harness.settings.mail_domain)
    campaign = await harness.upstream.campaign("w4r", "Khaled Drareni – خالد")
    async with harness.running():
        await sign(harness, campaign)
        await wait_until(lambda: len(harness.smtp_server.mails) == 1)
    [mail] = harness.smtp_server.mails
    assert is_verified(mail.raw, f"autumn._domainkey.{harness.settings.mail_domain}", signer.dns_record)
    assert not is_verified(mail.raw.replace(b"Ana", b"Ena"), signer.dns_name, signer.dns_record)
