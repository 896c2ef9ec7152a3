"""What must hold of mail, whatever happens: lost answers, slow domains, bounces, killed senders, strangers' words."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.endpoints import Endpoints
from services.notifications.domain.refusals import GIVE_UP_AFTER
from services.notifications.sender.housekeeping import Housekeeping
from services.notifications.storage.recipients import CONSIDERED
from shared import topics
from shared.metrics import DELIVERIES_OLDEST, DELIVERIES_PENDING, MAILS, MAILS_PENDING
from shared.privacy.sealing import Person
from tests.support.mailing import Mailing, mailing, until
from tests.support.planted import Planted
from tests.support.post_office import post_office
from tests.support.preferences_site import website

MINUTE, HOUR, DAY = 60, 3600, 86_400


def person(email: str, name: str = "Ana") -> Person:
    return Person(given_name=name, family_name="Díaz", email=email)


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


async def wait_for_state(mail: Mailing, state: str, count: int = 1) -> None:
    async def reached() -> bool:
        return int(await mail.pool.fetchval("SELECT count(*) FROM mails WHERE state = $1", state)) >= count

    await until(reached)


async def test_a_lost_answer_repeats_the_confirmation_under_the_same_message_id(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.lose_answer_to = {"ana@example.org"}
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await until(lambda: len(mail.office.letters) == 1)
        mail.clock.advance(MINUTE)
        await wait_for_state(mail, "sent")
    first, second = mail.office.letters
    assert first.id == second.id
    assert first.raw == second.raw


async def test_a_temporary_refusal_is_tried_again_with_longer_and_longer_pauses(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {"ana@example.org": "450 4.2.1 not now"}
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        for attempt, pause in enumerate((30, 60, 120), start=1):
            await mail.planned_up()
            assert mail.office.refused.total() == attempt
            due = await mail.pool.fetchval("SELECT extract(epoch FROM due_at)::float8 FROM mails")
            assert due - mail.clock.now() == pytest.approx(pause, abs=0.01)
            mail.clock.advance(pause + 1)
        mail.office.answers = {}
        mail.clock.advance(HOUR)
        await wait_for_state(mail, "sent")
    assert len(mail.office.letters) == 1


async def test_what_cannot_be_sent_for_days_is_given_up(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {"example.org": "450 4.2.1 not now"}
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        mail.clock.advance(GIVE_UP_AFTER.total_seconds() + HOUR)
        await wait_for_state(mail, "failed")
    assert await mail.states() == {"failed": 1}
    assert await mail.pool.fetchval("SELECT sealed FROM deliveries") is None


async def test_an_address_that_does_not_exist_gets_no_further_mail(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {"gone@example.org": "550 5.1.1 no such user"}
    async with mail.running():
        await mail.stage.sign(campaign, person("gone@example.org"))
        await mail.read_up()
        await wait_for_state(mail, "bounced")
        mail.office.answers = {}
        await mail.stage.sign(campaign, person("gone@example.org"), petition="another")
        await mail.read_up()
        mail.clock.advance(24 * HOUR)
        await mail.planned_up()
    assert not mail.office.letters
    assert await mail.states() == {"bounced": 1, "suppressed": 1}


@pytest.mark.parametrize("answer", ["550 5.7.1 relaying denied", "554 5.7.1 you again", "550 relay not permitted"])
async def test_a_relay_that_does_not_know_us_blames_nobody_and_gets_the_mail_later(mail: Mailing, answer: str) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {"example.org": answer}
    refused = MAILS.labels(outcome="refused")._value
    before = refused.get()
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await mail.planned_up()
        assert refused.get() == before + 1
        assert await mail.states() == {"mailed": 1}
        mail.office.answers = {}
        mail.clock.advance(MINUTE)
        await wait_for_state(mail, "sent")
    assert len(mail.office.letters) == 1


@pytest.mark.parametrize("alike", ["\uff41na@example.org", "ANA@example.org"])
async def test_a_look_alike_that_bounces_takes_no_mail_from_the_person(mail: Mailing, alike: str) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {alike: "550 5.1.1 no such user"}
    async with mail.running():
        await mail.stage.sign(campaign, person(alike))
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await wait_for_state(mail, "bounced")
        mail.clock.advance(11 * MINUTE)
        await mail.planned_up()
        await wait_for_state(mail, "sent")
        await mail.stage.sign(campaign, person(alike), petition="another")
        await mail.read_up()
        mail.clock.advance(11 * MINUTE)
        await mail.planned_up()
    assert [letter.to for letter in mail.office.letters] == ["ana@example.org"]
    assert mail.office.refused.total() == 1
    assert await mail.states() == {"bounced": 1, "mailed": 1, "suppressed": 1}


async def test_a_slow_domain_holds_up_nobody_else_and_gets_its_mails_later(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    mail.office.answers = {"slow.example": "421 4.3.2 come back later"}
    async with mail.running():
        for number in range(40):
            await mail.stage.sign(campaign, person(f"p{number}@slow.example"))
            await mail.stage.sign(campaign, person(f"p{number}@example.org"))
        await mail.read_up()
        await until(lambda: len(mail.office.letters) == 40)
        await mail.planned_up()
        # At most one try for each connection, before the first answer was known.
        assert mail.office.refused.total() <= 4
        mail.office.answers = {}
        mail.clock.advance(2 * MINUTE)
        await wait_for_state(mail, "sent", 80)
    assert len({letter.to for letter in mail.office.letters}) == 80


async def test_a_relay_that_is_away_costs_no_mail(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    away = mail.settings.model_copy(update={"smtp_port": 1})
    present, mail.settings = mail.settings, away
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await mail.planned_up()
    assert await mail.pool.fetchval("SELECT attempts FROM mails") == 1
    mail.settings = present
    mail.clock.advance(MINUTE)
    async with mail.running():
        await wait_for_state(mail, "sent")


async def test_a_sent_mail_is_told_once_to_others_without_personal_data(mail: Mailing, platform: Endpoints) -> None:
    campaign = await mail.stage.campaign(f"told-{os.getpid()}-{id(mail)}")
    consumer = AIOKafkaConsumer(bootstrap_servers=platform["kafka"])
    await consumer.start()
    deliveries = TopicPartition(topics.DELIVERIES.name, 0)
    consumer.assign([deliveries])
    await consumer.seek_to_end(deliveries)
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        told = await asyncio.wait_for(consumer.getone(), 30)
        while json.loads(told.value or b"{}").get("campaign") != campaign:
            told = await asyncio.wait_for(consumer.getone(), 30)
    await consumer.stop()
    key, value = told.key or b"", told.value or b""
    assert key == mail.names.key("ana@example.org")
    assert json.loads(value).keys() == {"campaign", "template", "sent_at", "acts"}
    assert not Planted("ana@example.org").within(value + key)


async def test_a_planted_name_is_only_in_the_mailbox_and_sealed(
    mail: Mailing, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    campaign = await mail.stage.campaign("w4r")
    planted = Planted("zyxwvut.planted@example.org", "Zyxwvutsrq")
    one = person("zyxwvut.planted@example.org", "Zyxwvutsrq")
    mail.office.answers = {"zyxwvut.planted@example.org": "450 zyxwvut.planted@example.org is busy"}
    async with mail.running():
        await mail.stage.sign(campaign, one)
        await mail.read_up()
        await until(lambda: mail.office.refused.total() == 1)
        await mail.planned_up()
        mail.office.answers = {}
        mail.clock.advance(MINUTE)
        await wait_for_state(mail, "sent")
    assert planted.within(mail.office.letters[0].raw)
    assert await planted.in_databases({"notifications": mail.settings.database_url}) == []
    written = capfd.readouterr()
    assert not planted.within((written.out + written.err + caplog.text).encode())


async def test_one_click_unsubscribes_and_looking_does_not(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running(), website(mail) as web:
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await until(lambda: len(mail.office.letters) == 1)
        address = str(mail.office.letters[0].message["List-Unsubscribe"]).strip("<>")

        looked = await web.get(address, follow_redirects=True)
        assert looked.status_code == 200
        assert "No more e-mail at all" in looked.text
        assert looked.headers["referrer-policy"] == "no-referrer"
        assert await mail.pool.fetchval("SELECT count(*) FROM suppressions") == 0

        for _ in range(2):
            clicked = await web.post(address, data={"List-Unsubscribe": "One-Click"})
            assert clicked.status_code == 200
        await mail.stage.sign(campaign, person("A.na@example.org"), petition="another")
        await mail.stage.sign(campaign, person("ANA@example.org"), petition="another")
        await mail.read_up()
        mail.clock.advance(24 * HOUR)
        await mail.planned_up()
        # Another spelling of the same mailbox is the same address; a dot is not ignored by this provider.
        assert [letter.to for letter in mail.office.letters] == ["ana@example.org", "A.na@example.org"]


async def test_who_unsubscribed_may_come_back(mail: Mailing) -> None:
    token = mail.names.token(mail.names.key("ana@example.org"))
    async with website(mail) as web:
        for choice, words in (("none", "No more e-mail goes to your address."), ("some", "No more e-mail at all")):
            answer = await web.post(f"/preferences/{token}", data={"mail": choice}, follow_redirects=True)
            assert answer.status_code == 200
            assert words in answer.text
        french = await web.get(f"/preferences/{token}?lang=fr")
        assert "Ne plus recevoir aucun courriel" in french.text


async def test_who_comes_back_gets_the_mail_about_what_they_do_again(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    token = mail.names.token(mail.names.key("ana@example.org"))
    async with mail.running(), website(mail) as web:
        await web.post(f"/v1/unsubscribe/{token}")
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        assert await mail.states() == {"suppressed": 1}
        await web.post(f"/preferences/{token}", data={"mail": "some"})
        again = await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await until(lambda: len(mail.office.letters) == 1)
    assert await mail.pool.fetchval("SELECT \"offset\" FROM deliveries WHERE state = 'mailed'") == again.offset
    assert await mail.states() == {"suppressed": 1, "mailed": 1}


async def test_a_bounce_that_was_lifted_stands_in_the_way_of_no_later_act(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    token = mail.names.token(mail.names.key("ana@example.org"))
    mail.office.answers = {"ana@example.org": "550 5.1.1 no such user"}
    async with mail.running(), website(mail) as web:
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        await wait_for_state(mail, "bounced")
        mail.office.answers = {}
        await web.post(f"/preferences/{token}", data={"mail": "some"})
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
        mail.clock.advance(11 * MINUTE)
        await mail.planned_up()
        await wait_for_state(mail, "sent")
    assert await mail.states() == {"bounced": 1, "mailed": 1}


@pytest.mark.parametrize("token", ["x", "A" * 43, "é" * 43, "a" * 5_000])
async def test_a_token_that_is_not_ours_does_nothing(mail: Mailing, token: str) -> None:
    async with website(mail) as web:
        assert (await web.get(f"/preferences/{token}")).status_code == 404
        assert (await web.post(f"/preferences/{token}", data={"mail": "none"})).status_code == 404
        assert (await web.post(f"/v1/unsubscribe/{token}")).status_code == 404
    assert await mail.pool.fetchval("SELECT count(*) FROM suppressions") == 0


async def test_what_people_typed_goes_after_eight_days_and_the_rest_after_forty(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    keeping = Housekeeping(mail.pool, mail.clock)
    async with mail.running():
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.read_up()
    assert await mail.pool.fetchval("SELECT count(sealed) FROM deliveries") == 1
    mail.clock.advance(7 * DAY)
    await keeping.turn()
    assert await mail.pool.fetchval("SELECT count(sealed) FROM deliveries") == 1
    mail.clock.advance(2 * DAY)
    await Housekeeping(mail.pool, mail.clock).turn()
    assert await mail.pool.fetchval("SELECT count(*) FROM deliveries WHERE sealed IS NULL") == 1
    mail.clock.advance(40 * DAY)
    await Housekeeping(mail.pool, mail.clock).turn()
    for table in ("deliveries", "mails", "mail_deliveries", "recipients", "mailed_campaigns"):
        assert await mail.pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608  names above


@pytest.mark.parametrize(("state", "days"), [("suppressed", 0), ("expired", 50)])
async def test_however_much_waits_for_one_address_nothing_is_left_behind(mail: Mailing, state: str, days: int) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running(mail.loop().run), website(mail) as web:
        if state == "suppressed":
            await web.post(f"/v1/unsubscribe/{mail.names.token(mail.names.key('ana@example.org'))}")
        for number in range(2 * CONSIDERED + 1):
            await mail.stage.sign(campaign, person("ana@example.org"), petition=f"petition-{number}")
        await mail.consumed()
    mail.clock.advance(days * DAY)
    async with mail.running(*mail.senders()):
        await mail.planned_up()
    assert await mail.states() == {state: 2 * CONSIDERED + 1}
    assert not mail.office.letters


async def test_who_never_got_a_mail_is_not_kept(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running(mail.loop().run):
        signed = await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.stage.withdraw(campaign, signed)
        await mail.consumed()
    await Housekeeping(mail.pool, mail.clock).turn()
    assert await mail.pool.fetchval("SELECT count(*) FROM recipients") == 1
    async with mail.running(*mail.senders()):
        await mail.planned_up()
    await Housekeeping(mail.pool, mail.clock).turn()
    assert await mail.pool.fetchval("SELECT count(*) FROM recipients") == 0
    assert not mail.office.letters


async def test_what_waits_is_measured(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running(mail.loop().run):
        await mail.stage.sign(campaign, person("ana@example.org"))
        await mail.consumed()
    mail.clock.advance(100)
    await Housekeeping(mail.pool, mail.clock).turn()
    assert DELIVERIES_PENDING._value.get() == 1
    assert DELIVERIES_OLDEST._value.get() == pytest.approx(100, abs=20)
    assert MAILS_PENDING._value.get() == 0
