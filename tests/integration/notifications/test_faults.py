"""The guarantees of mail under faults: lost answers, slow domains, bounces, killed senders, strangers' words."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.endpoints import Endpoints
from services.notifications.domain.refusals import GIVE_UP_AFTER
from services.notifications.sender.deliver.sending import LEASE
from services.notifications.storage import mails
from services.notifications.storage.recipients import MAX_DELIVERIES_PER_PLAN
from shared import topics
from shared.clock import utc
from shared.database import connected
from shared.metrics import DELIVERIES_OLDEST, DELIVERIES_PENDING, MAILS, MAILS_PENDING
from shared.privacy.sealing import Person
from tests.support.mailing import NotificationsHarness, notifications_harness, wait_until
from tests.support.needle_search import NeedleSearch
from tests.support.post_office import run_smtp_server
from tests.support.preferences_site import preferences_client

MINUTE, HOUR, DAY = 60, 3600, 86_400


def person(email: str, name: str = "Ana") -> Person:
    return Person(given_name=name, family_name="Díaz", email=email)


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


async def wait_for_state(harness: NotificationsHarness, state: str, count: int = 1) -> None:
    async def reached() -> bool:
        return int(await harness.pool.fetchval("SELECT count(*) FROM mails WHERE state = $1", state)) >= count

    await wait_until(reached)


async def has_row(harness: NotificationsHarness, condition: str) -> bool:
    return bool(await harness.pool.fetch(f"SELECT FROM mails WHERE {condition}"))


async def test_a_lost_answer_repeats_the_confirmation_under_the_same_message_id(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.lose_answer_to = {"ana@example.org"}
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await wait_until(lambda: len(harness.smtp_server.mails) == 1)
        harness.clock.advance(MINUTE)
        await wait_for_state(harness, "sent")
    first, second = harness.smtp_server.mails
    assert first.id == second.id
    assert first.raw == second.raw


async def test_a_temporary_refusal_is_tried_again_with_longer_and_longer_pauses(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {"ana@example.org": "450 4.2.1 not now"}
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        for attempt, pause in enumerate((30, 60, 120), start=1):
            await harness.wait_until_planned()
            assert harness.smtp_server.refusals.total() == attempt
            due = await harness.pool.fetchval("SELECT extract(epoch FROM due_at)::float8 FROM mails")
            assert due - harness.clock.now() == pytest.approx(pause, abs=0.01)
            harness.clock.advance(pause + 1)
        harness.smtp_server.rcpt_answers = {}
        harness.clock.advance(HOUR)
        await wait_for_state(harness, "sent")
    assert len(harness.smtp_server.mails) == 1


async def test_what_cannot_be_sent_for_days_is_given_up(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {"example.org": "450 4.2.1 not now"}
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        harness.clock.advance(GIVE_UP_AFTER.total_seconds() + HOUR)
        await wait_for_state(harness, "failed")
    assert await harness.delivery_states() == {"failed": 1}
    assert await harness.pool.fetchval("SELECT sealed FROM deliveries") is None


async def test_an_address_that_does_not_exist_gets_no_further_mail(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {"gone@example.org": "550 5.1.1 no such user"}
    async with harness.running():
        await harness.upstream.sign(campaign, person("gone@example.org"))
        await harness.wait_until_settled()
        await wait_for_state(harness, "bounced")
        harness.smtp_server.rcpt_answers = {}
        await harness.upstream.sign(campaign, person("gone@example.org"), petition="another")
        await harness.wait_until_settled()
        harness.clock.advance(24 * HOUR)
        await harness.wait_until_planned()
    assert not harness.smtp_server.mails
    assert await harness.delivery_states() == {"bounced": 1, "suppressed": 1}


@pytest.mark.parametrize("answer", ["550 5.7.1 relaying denied", "554 5.7.1 you again", "550 relay not permitted"])
async def test_a_relay_that_does_not_know_us_blames_nobody_and_gets_the_mail_later(
    harness: NotificationsHarness, answer: str
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {"example.org": answer}
    refused = MAILS.labels(outcome="refused")._value
    before = refused.get()
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await harness.wait_until_planned()
        assert refused.get() == before + 1
        assert await harness.delivery_states() == {"mailed": 1}
        harness.smtp_server.rcpt_answers = {}
        harness.clock.advance(MINUTE)
        await wait_for_state(harness, "sent")
    assert len(harness.smtp_server.mails) == 1


@pytest.mark.parametrize("alike", ["\uff41na@example.org", "ANA@example.org"])
async def test_a_look_alike_that_bounces_takes_no_mail_from_the_person(
    harness: NotificationsHarness, alike: str
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {alike: "550 5.1.1 no such user"}
    async with harness.running():
        await harness.upstream.sign(campaign, person(alike))
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await wait_for_state(harness, "bounced")
        harness.clock.advance(11 * MINUTE)
        await harness.wait_until_planned()
        await wait_for_state(harness, "sent")
        await harness.upstream.sign(campaign, person(alike), petition="another")
        await harness.wait_until_settled()
        harness.clock.advance(11 * MINUTE)
        await harness.wait_until_planned()
    assert [mail.to for mail in harness.smtp_server.mails] == ["ana@example.org"]
    assert harness.smtp_server.refusals.total() == 1
    assert await harness.delivery_states() == {"bounced": 1, "mailed": 1, "suppressed": 1}


async def test_a_slow_domain_holds_up_nobody_else_and_gets_its_mails_later(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {"slow.example": "421 4.3.2 come back later"}
    async with harness.running():
        for number in range(40):
            await harness.upstream.sign(campaign, person(f"p{number}@slow.example"))
            await harness.upstream.sign(campaign, person(f"p{number}@example.org"))
        await harness.wait_until_settled()
        await wait_until(lambda: len(harness.smtp_server.mails) == 40)
        await harness.wait_until_planned()
        # At most one try for each connection, before the first answer was known.
        assert harness.smtp_server.refusals.total() <= 4
        harness.smtp_server.rcpt_answers = {}
        harness.clock.advance(2 * MINUTE)
        await wait_for_state(harness, "sent", 80)
    assert len({mail.to for mail in harness.smtp_server.mails}) == 80


async def test_a_relay_that_is_away_costs_no_mail(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    away = harness.settings.model_copy(update={"smtp_port": 1})
    present, harness.settings = harness.settings, away
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await harness.wait_until_planned()
    assert await harness.pool.fetchval("SELECT attempts FROM mails") == 1
    harness.settings = present
    harness.clock.advance(MINUTE)
    async with harness.running():
        await wait_for_state(harness, "sent")


async def test_leases_that_expired_untried_cost_a_mail_none_of_its_attempts(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    relay, sender, planner = harness.sender_parts()
    async with harness.running(harness.create_loop().run, planner):
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_consumed()
        await wait_until(lambda: has_row(harness, "state = 'open'"))
    for _ in range(5):
        # As senders that were killed before they tried.
        async with connected(harness.pool) as connection, connection.transaction():
            now = utc(harness.clock.now())
            assert await mails.lease(connection, now, now + LEASE, 10)
        harness.clock.advance(LEASE.total_seconds() + 1)
    known = harness.upstream.catalog.campaigns[campaign]
    harness.upstream.catalog.campaigns[campaign] = msgspec.structs.replace(known, languages=None)
    async with harness.running(relay, sender):
        await wait_until(lambda: has_row(harness, "answer IS NOT NULL"))
        assert await harness.pool.fetchval("SELECT attempts FROM mails WHERE state = 'open'") == 1
        harness.upstream.catalog.campaigns[campaign] = known
        harness.clock.advance(MINUTE)
        await wait_for_state(harness, "sent")
    assert await harness.pool.fetchval("SELECT attempts FROM mails") == 2


async def test_a_sent_mail_is_told_once_to_others_without_personal_data(
    harness: NotificationsHarness, platform: Endpoints
) -> None:
    campaign = await harness.upstream.campaign(f"told-{os.getpid()}-{id(harness)}")
    consumer = AIOKafkaConsumer(bootstrap_servers=platform["kafka"])
    await consumer.start()
    deliveries = TopicPartition(topics.DELIVERIES.name, 0)
    consumer.assign([deliveries])
    await consumer.seek_to_end(deliveries)
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        record = await asyncio.wait_for(consumer.getone(), 30)
        while json.loads(record.value or b"{}").get("campaign") != campaign:
            record = await asyncio.wait_for(consumer.getone(), 30)
    await consumer.stop()
    key, value = record.key or b"", record.value or b""
    assert key == harness.recipient_keys.recipient_key("ana@example.org")
    assert json.loads(value).keys() == {"campaign", "template", "sent_at", "acts"}
    assert not NeedleSearch("ana@example.org").is_in(value + key)


async def test_a_planted_name_is_only_in_the_mailbox_and_sealed(
    harness: NotificationsHarness, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    planted = NeedleSearch("zyxwvut.planted@example.org", "Zyxwvutsrq")
    signer = person("zyxwvut.planted@example.org", "Zyxwvutsrq")
    harness.smtp_server.rcpt_answers = {"zyxwvut.planted@example.org": "450 zyxwvut.planted@example.org is busy"}
    async with harness.running():
        await harness.upstream.sign(campaign, signer)
        await harness.wait_until_settled()
        await wait_until(lambda: harness.smtp_server.refusals.total() == 1)
        await harness.wait_until_planned()
        harness.smtp_server.rcpt_answers = {}
        harness.clock.advance(MINUTE)
        await wait_for_state(harness, "sent")
    assert planted.is_in(harness.smtp_server.mails[0].raw)
    assert await planted.in_databases({"notifications": harness.settings.database_url}) == []
    written = capfd.readouterr()
    assert not planted.is_in((written.out + written.err + caplog.text).encode())


async def test_one_click_unsubscribes_and_looking_does_not(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(), preferences_client(harness) as web:
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await wait_until(lambda: len(harness.smtp_server.mails) == 1)
        address = str(harness.smtp_server.mails[0].message["List-Unsubscribe"]).strip("<>")

        page = await web.get(address, follow_redirects=True)
        assert page.status_code == 200
        assert "No more e-mail at all" in page.text
        assert page.headers["referrer-policy"] == "no-referrer"
        assert await harness.pool.fetchval("SELECT count(*) FROM suppressions") == 0

        for _ in range(2):
            response = await web.post(address, data={"List-Unsubscribe": "One-Click"})
            assert response.status_code == 200
        await harness.upstream.sign(campaign, person("A.na@example.org"), petition="another")
        await harness.upstream.sign(campaign, person("ANA@example.org"), petition="another")
        await harness.wait_until_settled()
        harness.clock.advance(24 * HOUR)
        await harness.wait_until_planned()
        # Another spelling of the same mailbox is the same address; a dot is not ignored by this provider.
        assert [mail.to for mail in harness.smtp_server.mails] == ["ana@example.org", "A.na@example.org"]


async def test_who_unsubscribed_may_come_back(harness: NotificationsHarness) -> None:
    token = harness.recipient_keys.token(harness.recipient_keys.recipient_key("ana@example.org"))
    async with preferences_client(harness) as web:
        for choice, words in (("none", "No more e-mail goes to your address."), ("some", "No more e-mail at all")):
            answer = await web.post(f"/preferences/{token}", data={"mail": choice}, follow_redirects=True)
            assert answer.status_code == 200
            assert words in answer.text
        french = await web.get(f"/preferences/{token}?lang=fr")
        assert "Ne plus recevoir aucun courriel" in french.text


async def test_who_comes_back_gets_the_mail_about_what_they_do_again(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    token = harness.recipient_keys.token(harness.recipient_keys.recipient_key("ana@example.org"))
    async with harness.running(), preferences_client(harness) as web:
        await web.post(f"/v1/unsubscribe/{token}")
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        assert await harness.delivery_states() == {"suppressed": 1}
        await web.post(f"/preferences/{token}", data={"mail": "some"})
        second = await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await wait_until(lambda: len(harness.smtp_server.mails) == 1)
    assert await harness.pool.fetchval("SELECT \"offset\" FROM deliveries WHERE state = 'mailed'") == second.offset
    assert await harness.delivery_states() == {"suppressed": 1, "mailed": 1}


async def test_a_bounce_that_was_lifted_stands_in_the_way_of_no_later_act(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    token = harness.recipient_keys.token(harness.recipient_keys.recipient_key("ana@example.org"))
    harness.smtp_server.rcpt_answers = {"ana@example.org": "550 5.1.1 no such user"}
    async with harness.running(), preferences_client(harness) as web:
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        await wait_for_state(harness, "bounced")
        harness.smtp_server.rcpt_answers = {}
        await web.post(f"/preferences/{token}", data={"mail": "some"})
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
        harness.clock.advance(11 * MINUTE)
        await harness.wait_until_planned()
        await wait_for_state(harness, "sent")
    assert await harness.delivery_states() == {"bounced": 1, "mailed": 1}


@pytest.mark.parametrize("token", ["x", "A" * 43, "é" * 43, "a" * 5_000])
async def test_a_token_that_is_not_ours_does_nothing(harness: NotificationsHarness, token: str) -> None:
    async with preferences_client(harness) as web:
        assert (await web.get(f"/preferences/{token}")).status_code == 404
        assert (await web.post(f"/preferences/{token}", data={"mail": "none"})).status_code == 404
        assert (await web.post(f"/v1/unsubscribe/{token}")).status_code == 404
    assert await harness.pool.fetchval("SELECT count(*) FROM suppressions") == 0


async def test_what_people_typed_goes_after_eight_days_and_the_rest_after_forty(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    keeping = harness.housekeeping()
    async with harness.running():
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_settled()
    assert await harness.pool.fetchval("SELECT count(sealed) FROM deliveries") == 1
    harness.clock.advance(7 * DAY)
    await keeping.run_once()
    assert await harness.pool.fetchval("SELECT count(sealed) FROM deliveries") == 1
    harness.clock.advance(2 * DAY)
    await harness.housekeeping().run_once()
    assert await harness.pool.fetchval("SELECT count(*) FROM deliveries WHERE sealed IS NULL") == 1
    harness.clock.advance(40 * DAY)
    await harness.housekeeping().run_once()
    for table in ("deliveries", "mails", "mail_deliveries", "recipients", "mailed_campaigns"):
        assert await harness.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608  names above


@pytest.mark.parametrize(("state", "days"), [("suppressed", 0), ("expired", 50)])
async def test_however_much_waits_for_one_address_nothing_is_left_behind(
    harness: NotificationsHarness, state: str, days: int
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(harness.create_loop().run), preferences_client(harness) as web:
        if state == "suppressed":
            await web.post(
                f"/v1/unsubscribe/{harness.recipient_keys.token(harness.recipient_keys.recipient_key('ana@example.org'))}"
            )
        for number in range(2 * MAX_DELIVERIES_PER_PLAN + 1):
            await harness.upstream.sign(campaign, person("ana@example.org"), petition=f"petition-{number}")
        await harness.wait_until_consumed()
    harness.clock.advance(days * DAY)
    async with harness.running(*harness.sender_parts()):
        await harness.wait_until_planned()
    assert await harness.delivery_states() == {state: 2 * MAX_DELIVERIES_PER_PLAN + 1}
    assert not harness.smtp_server.mails


async def test_who_never_got_a_mail_is_not_kept(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(harness.create_loop().run):
        signed = await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.upstream.withdraw(campaign, signed)
        await harness.wait_until_consumed()
    await harness.housekeeping().run_once()
    assert await harness.pool.fetchval("SELECT count(*) FROM recipients") == 1
    async with harness.running(*harness.sender_parts()):
        await harness.wait_until_planned()
    await harness.housekeeping().run_once()
    assert await harness.pool.fetchval("SELECT count(*) FROM recipients") == 0
    assert not harness.smtp_server.mails


async def test_what_waits_is_measured(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(harness.create_loop().run):
        await harness.upstream.sign(campaign, person("ana@example.org"))
        await harness.wait_until_consumed()
    harness.clock.advance(100)
    await harness.housekeeping().run_once()
    assert DELIVERIES_PENDING._value.get() == 1
    assert DELIVERIES_OLDEST._value.get() == pytest.approx(100, abs=20)
    assert MAILS_PENDING._value.get() == 0
