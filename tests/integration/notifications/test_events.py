"""What notifications tells the others of mails and of people's wishes: once each, and without personal data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.endpoints import Endpoints
from deploy.recovery import suppressed
from services.notifications.sender.signing import Signer
from shared import topics
from shared.counting.event_decoder import keyed_hash
from shared.privacy.sealing import Person
from tests.support.dkim_keys import verified, write_key
from tests.support.intakes import records
from tests.support.mailing import Mailing, mailing, until
from tests.support.planted import Planted
from tests.support.post_office import post_office
from tests.support.preferences_site import website

ANA = "ana.planted@example.org"


@pytest.fixture
async def mail(
    platform: Endpoints,
    make_database: Callable[[str], Awaitable[str]],
    make_topic: Callable[..., Awaitable[str]],
    tmp_path: Path,
) -> AsyncIterator[Mailing]:
    url = await make_database("notifications")
    async with post_office() as office, mailing(platform["kafka"], url, make_topic, office, tmp_path) as made:
        yield made


async def told(mail: Mailing, platform: Endpoints, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Type and content of the first `count` events about Ana, once they are there; nothing in them names her."""
    found: list[tuple[str, dict[str, Any]]] = []

    async def arrived() -> bool:
        found.clear()
        for record in await records(platform, topics.DELIVERIES.name, 0, 0):
            if record.key == mail.names.key(ANA):
                assert not Planted(ANA).within((record.value or b"") + (record.key or b""))
                found.append((dict(record.headers)["ce_type"].decode(), json.loads(record.value or b"{}")))
        return len(found) >= count

    await until(arrived)
    return found


async def sign(mail: Mailing, campaign: str, **more: Any) -> None:
    await mail.stage.sign(campaign, Person(given_name="Ana", family_name="Díaz", email=ANA), **more)
    await mail.read_up()


async def suppressions(mail: Mailing) -> dict[bytes, str]:
    return dict(map(tuple, await mail.pool.fetch("SELECT recipient, reason FROM suppressions")))


async def test_a_bounce_is_told_once_with_its_answer(mail: Mailing, platform: Endpoints) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {ANA: f"550 5.1.1 no {ANA} here"}
    async with mail.running():
        await sign(mail, campaign)
        [(name, event)] = await told(mail, platform, 1)
        await sign(mail, campaign, petition="another")
        await mail.planned_up()
    assert name == "delivery-bounced"
    assert event.pop("bounced_at")
    assert keyed_hash(event.pop("address")) == mail.names.address(ANA)
    assert event == {"campaign": campaign, "template": "confirmation", "acts": 1, "answer": 550, "mailbox_gone": True}
    assert len(await told(mail, platform, 1)) == 1


async def test_a_refused_message_is_a_bounce_of_a_mailbox_that_is_there(mail: Mailing, platform: Endpoints) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {ANA: "552 5.2.2 the mailbox is full"}
    async with mail.running():
        await sign(mail, campaign)
        [(name, event)] = await told(mail, platform, 1)
    assert (name, event["answer"], event["mailbox_gone"]) == ("delivery-bounced", 552, False)
    assert event["address"] is None
    assert await suppressions(mail) == {}


async def test_who_unsubscribes_and_comes_back_is_told_once_each(mail: Mailing, platform: Endpoints) -> None:
    token = mail.names.token(mail.names.key(ANA))
    async with mail.running(), website(mail) as web:
        for choice in ("none", "none", "some", "some"):
            await web.post(f"/preferences/{token}", data={"mail": choice})
        await web.post(f"/v1/unsubscribe/{token}", data={"List-Unsubscribe": "One-Click"})
        found = await told(mail, platform, 3)
    assert [name for name, _ in found] == ["delivery-unsubscribed", "delivery-resubscribed", "delivery-unsubscribed"]
    assert [set(event) for _, event in found] == [{"unsubscribed_at"}, {"resubscribed_at"}, {"unsubscribed_at"}]


async def test_a_restored_database_is_told_again_who_wants_no_mail(mail: Mailing, platform: Endpoints) -> None:
    ana, bo = mail.names.key(ANA), mail.names.key("bo@example.org")
    gone, gone_key = mail.names.address("gone@example.org"), mail.names.key("gone@example.org")
    async with mail.running(), website(mail) as web:
        for recipient in (ana, bo):
            await web.post(f"/v1/unsubscribe/{mail.names.token(recipient)}")
        await web.post(f"/preferences/{mail.names.token(bo)}", data={"mail": "some"})
        await told(mail, platform, 1)
        campaign = await mail.stage.campaign("w4r")
        mail.office.answers = {"gone@example.org": "550 5.1.1 nobody here"}
        await mail.stage.sign(campaign, Person(given_name="G", family_name="H", email="gone@example.org"))
        await mail.read_up()

        async def sent() -> bool:
            return bool(await mail.pool.fetchval("SELECT count(*) = 0 FROM outbox"))

        await until(sent)
    # As a backup from before has it.
    await mail.pool.execute("DELETE FROM suppressions")
    await mail.pool.execute("DELETE FROM gone_addresses")
    at: Endpoints = {**platform, "databases": {**platform["databases"], "notifications": mail.settings.database_url}}
    found = await suppressed.examine(at)
    assert await suppressions(mail) == {}
    assert (ana in found.recipients, bo in found.recipients) == (True, False)
    assert found.gone()[gone] == gone_key
    await suppressed.mend(at, found, "the disk died")
    assert (await suppressions(mail))[ana] == "unsubscribed"
    assert await mail.pool.fetchval("SELECT recipient FROM gone_addresses WHERE address = $1", gone) == gone_key
    again = await suppressed.examine(at)
    assert ana not in again.recipients
    assert gone not in again.gone()
    assert await mail.pool.fetchval("SELECT reason FROM recoveries") == "the disk died"


async def test_a_mail_arrives_with_a_signature_that_others_can_verify(mail: Mailing, tmp_path: Path) -> None:
    key = write_key(tmp_path / "dkim.key")
    mail.settings = mail.settings.model_copy(update={"dkim_key_file": key, "dkim_selector": "autumn"})
    signer = Signer.of(key, "autumn", mail.settings.mail_domain)
    campaign = await mail.stage.campaign("w4r", "Khaled Drareni – خالد")
    async with mail.running():
        await sign(mail, campaign)
        await until(lambda: len(mail.office.letters) == 1)
    [letter] = mail.office.letters
    assert verified(letter.raw, f"autumn._domainkey.{mail.settings.mail_domain}", signer.record)
    assert not verified(letter.raw.replace(b"Ana", b"Ena"), signer.name, signer.record)
