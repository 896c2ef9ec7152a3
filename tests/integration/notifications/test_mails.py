"""notifications from events to mails, with a real broker, a real database and a real SMTP server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from deploy.local.endpoints import Endpoints
from shared.privacy import tokens
from shared.privacy.sealing import Person
from tests.support.mailing import Mailing, Submission, mailing
from tests.support.post_office import Letter, post_office

MINUTE, DAY = 60, 24 * 3600
ANA = Person(given_name="Ana", family_name="Díaz", email="ana@example.org")


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


def links(letter: Letter, purpose: str = "confirm") -> list[str]:
    return re.findall(rf"^    (http\S+/{purpose}/\S+)$", letter.text, re.MULTILINE)


def acts(mail: Mailing, link: str) -> set[tuple[str, int, int, bytes]]:
    """What a link confirms, read as petitions and letters read it."""
    text = link.rpartition("/")[2].partition("?")[0]
    token = tokens.read(text, mail.stage.catalog.keys[tokens.campaign_of(text)].token)
    return {(act.topic, act.partition, act.offset, act.digest) for act in token.acts}


def places(*submissions: Submission) -> set[tuple[str, int, int, bytes]]:
    return {(one.topic, one.partition, one.offset, one.digest) for one in submissions}


async def test_the_first_confirmation_goes_at_once_with_links_that_name_the_submission(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        signed = await mail.stage.sign(campaign, ANA)
        await mail.read_up()
    [letter] = mail.office.to("ana@example.org")
    [confirm], [withdraw] = links(letter), links(letter, "withdraw")
    assert confirm.startswith("http://127.0.0.1:8101/confirm/")
    assert acts(mail, confirm) == acts(mail, withdraw) == places(signed)
    assert letter.message["Subject"] == "Please confirm: your signature for Khaled Drareni"
    assert letter.message["To"] == "Ana Díaz <ana@example.org>"
    assert letter.message["Auto-Submitted"] == "auto-generated"
    assert letter.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "Ana, one step is left." in letter.text
    assert confirm in letter.part("html")
    assert await mail.states() == {"mailed": 1}


async def test_what_follows_in_ten_minutes_goes_in_one_mail_with_one_button_for_each_service(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        await mail.stage.sign(campaign, ANA)
        await mail.read_up()
        signed = [await mail.stage.sign(campaign, ANA, petition=f"petition-{number}") for number in range(3)]
        written = [
            await mail.stage.write(campaign, Person(given_name="Ana", family_name="D", email=ANA.email, text=text))
            for text in ("Dear Khaled", "Cher Khaled")
        ]
        await mail.read_up()
        assert len(mail.office.letters) == 1
        mail.clock.advance(10 * MINUTE + 1)
        await mail.planned_up()
    [_, second] = mail.office.to("ana@example.org")
    [signatures, messages] = links(second)
    assert acts(mail, signatures) == places(*signed)
    assert acts(mail, messages) == places(*written)
    assert messages.startswith("http://127.0.0.1:8102/letters/confirm/")
    assert second.message["Subject"] == "Please confirm: 5 acts wait for you"


async def test_the_third_mail_of_a_day_covers_what_is_unconfirmed_and_a_fourth_waits(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    signed = []
    began = mail.clock.now()
    async with mail.running():
        for number in range(3):
            signed.append(await mail.stage.sign(campaign, ANA, petition=f"petition-{number}"))
            await mail.read_up()
            if number == 1:
                await mail.stage.confirm(campaign, signed[0])
            mail.clock.advance(11 * MINUTE)
            await mail.planned_up()
        assert len(mail.office.letters) == 3
        signed.append(await mail.stage.sign(campaign, ANA, petition="petition-4"))
        await mail.read_up()
        mail.clock.set(began + DAY - MINUTE)
        await mail.planned_up()
        assert len(mail.office.letters) == 3
        mail.clock.set(began + DAY + MINUTE)
        await mail.planned_up()
    letters = mail.office.to("ana@example.org")
    assert [acts(mail, links(letter)[0]) for letter in letters] == [
        places(signed[0]),
        places(signed[1]),
        places(signed[1], signed[2]),
        # Two mails of the day before still count: again the last one, with all that waits.
        places(*signed[1:]),
    ]


async def test_a_flood_for_one_address_gets_three_mails_a_day_with_the_first_act_in_front(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        for number in range(300):
            await mail.stage.sign(campaign, Person(given_name=f"A{number}", family_name="B", email=ANA.email))
        await mail.read_up()
        for _ in range(23):
            mail.clock.advance(3600)
            await mail.planned_up()
    assert len(mail.office.letters) == 3
    assert max(len(links(letter)) for letter in mail.office.letters) <= 11


async def test_a_flood_of_letters_in_somebodys_name_does_not_hold_up_their_own(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running(mail.loop().run):
        for number in range(300):
            text = Person(given_name="Ana", family_name="D", email=ANA.email, text=f"Letter {number}")
            await mail.stage.write(campaign, text, network="elsewhere")
        mine = await mail.stage.write(campaign, Person(given_name="Ana", family_name="D", email=ANA.email, text="Mine"))
        await mail.consumed()
    async with mail.running(*mail.senders()):
        await mail.planned_up()
    [letter] = mail.office.letters
    [link] = links(letter)
    assert places(mine) < acts(mail, link)
    assert await mail.pool.fetchval("SELECT count(*) FROM deliveries WHERE network IS NULL") == 0
    await mail.stage.confirm(campaign, mine)
    async with mail.running(mail.loop().run):
        await mail.consumed()
    assert await mail.pool.fetchval("SELECT state FROM deliveries WHERE network IS NULL") == "confirmed"


async def test_a_repeat_makes_no_mail_and_a_repeat_after_a_withdrawal_makes_one(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        first = await mail.stage.sign(campaign, ANA)
        await mail.stage.sign(campaign, ANA)
        await mail.read_up()
        mail.clock.advance(11 * MINUTE)
        await mail.planned_up()
        assert len(mail.office.letters) == 1
        await mail.stage.withdraw(campaign, first)
        again = await mail.stage.sign(campaign, ANA)
        await mail.read_up()
    assert [acts(mail, links(letter)[0]) for letter in mail.office.letters] == [places(first), places(again)]


async def test_other_data_for_the_same_act_has_a_button_of_its_own(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    stranger = Person(given_name="Bob", family_name="Smith", email=ANA.email)
    async with mail.running():
        await mail.stage.sign(campaign, ANA)
        await mail.read_up()
        other = await mail.stage.sign(campaign, stranger)
        more = await mail.stage.sign(campaign, ANA, petition="another")
        await mail.read_up()
        mail.clock.advance(10 * MINUTE)
        await mail.planned_up()
    second = mail.office.to("ana@example.org")[1]
    assert [acts(mail, link) for link in links(second)] == [places(more), places(other)]
    assert "Confirm it as Bob Smith" in second.text
    assert "One step is left." in second.text


async def test_a_mail_goes_only_to_the_spelling_that_it_is_about(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    spellings = ("ana@gmail.com", "a.na@gmail.com")
    async with mail.running():
        signed = [
            await mail.stage.sign(
                campaign, Person(given_name="Ana", family_name="D", email=email), petition=f"petition-{number}"
            )
            for number, email in enumerate((*spellings, *spellings))
        ]
        await mail.read_up()
        for _ in range(3):
            mail.clock.advance(11 * MINUTE)
            await mail.planned_up()
    for email, theirs in zip(spellings, (signed[::2], signed[1::2]), strict=True):
        covered = [acts(mail, link) for letter in mail.office.to(email) for link in links(letter)]
        assert set().union(*covered) == places(*theirs)


async def test_what_was_confirmed_or_withdrawn_before_the_mail_is_not_in_it(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        await mail.stage.sign(campaign, ANA)
        await mail.read_up()
        confirmed, withdrawn, waiting = [
            await mail.stage.sign(campaign, ANA, petition=f"petition-{number}") for number in range(3)
        ]
        await mail.stage.confirm(campaign, confirmed)
        await mail.stage.withdraw(campaign, withdrawn)
        await mail.read_up()
        mail.clock.advance(10 * MINUTE)
        await mail.planned_up()
    [link] = links(mail.office.letters[1])
    assert acts(mail, link) == places(waiting)
    assert await mail.states() == {"mailed": 2, "confirmed": 1, "withdrawn": 1}


async def test_an_address_that_a_partner_confirmed_gets_no_mail(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        await mail.stage.sign(campaign, ANA, evidence="confirmed")
        await mail.read_up()
    assert not await mail.states()
    assert not mail.office.letters


async def test_a_campaign_without_confirmation_sends_no_mail(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("quiet", confirmation="none")
    async with mail.running():
        await mail.stage.sign(campaign, ANA)
        await mail.read_up()
    assert not await mail.states()


async def test_a_replay_of_the_topics_makes_no_delivery_and_no_mail(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        signed = await mail.stage.sign(campaign, ANA)
        await mail.stage.sign(campaign, ANA)
        await mail.stage.withdraw(campaign, signed)
        await mail.stage.sign(campaign, ANA)
        await mail.stage.write(campaign, ANA)
        await mail.read_up()
        mail.clock.advance(10 * MINUTE)
        await mail.planned_up()
    before = await mail.pool.fetch('SELECT * FROM deliveries ORDER BY topic, partition, "offset"')
    sent = len(mail.office.letters)
    await mail.pool.execute("UPDATE positions SET next = 0, digest = NULL")
    async with mail.running():
        await mail.read_up()
        mail.clock.advance(10 * MINUTE)
        await mail.planned_up()
    assert await mail.pool.fetch('SELECT * FROM deliveries ORDER BY topic, partition, "offset"') == before
    assert len(mail.office.letters) == sent


async def test_a_mail_speaks_the_language_of_the_person(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        await mail.stage.sign(campaign, ANA, locale="fr")
        await mail.read_up()
    [letter] = mail.office.letters
    assert letter.message["Subject"] == "À confirmer : votre signature pour Khaled Drareni"
    assert "Ana, il reste une étape." in letter.text
    assert "Libérez Khaled Drareni" in letter.text
    assert '<html lang="fr" dir="ltr">' in letter.part("html")
    assert all(link.endswith("?lang=fr") for link in links(letter) + links(letter, "withdraw"))


async def test_in_safety_mode_the_subject_names_nobody(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("safe", confirmation="required", safety_mode=True)
    async with mail.running():
        await mail.stage.sign(campaign, ANA)
        await mail.read_up()
    [letter] = mail.office.letters
    assert letter.message["Subject"] == "Please confirm: one step is left"
    assert "Drareni" not in str(letter.message["Subject"])


async def test_addresses_outside_ascii_are_reached(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        for address in ("ana@exämple.org", "añã@example.org"):
            await mail.stage.sign(campaign, Person(given_name="Ana", family_name="D", email=address))
        await mail.read_up()
    assert {letter.to for letter in mail.office.letters} == {"ana@xn--exmple-cua.org", "añã@example.org"}


async def test_a_record_that_cannot_be_read_is_passed_over(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    key = bytes(16)
    async with mail.running():
        for value, version in ((b"{", "1.0"), (b"\xff", "1.0"), (b"{}", "1.0"), (None, "1.0"), (b"{}", "9.0")):
            await mail.stage.publish(mail.stage.signatures, "signature-submitted", key, value, version=version)
        await mail.stage.publish(mail.stage.signatures, "signature-confirmed", key, b'{"digest": 1}')
        await mail.stage.publish(mail.stage.signatures, "signature-invalidated", key, b"{}")
        foreign = await mail.stage.sign(campaign, ANA)
        await mail.stage.producer.send_and_wait(
            mail.stage.messages, b"no event at all", key=key, partition=foreign.partition
        )
        await mail.read_up()
    assert len(mail.office.letters) == 1


async def test_a_redriven_submission_is_the_one_that_it_was(mail: Mailing) -> None:
    campaign = await mail.stage.campaign("w4r")
    async with mail.running():
        signed = await mail.stage.sign(campaign, ANA)
        later = await mail.stage.sign(campaign, ANA, petition="another")
        for _ in range(2):
            await mail.stage.redrive(signed)
        await mail.read_up()
        mail.clock.advance(10 * MINUTE)
        await mail.planned_up()
    rows = await mail.pool.fetch('SELECT topic, partition, "offset" FROM deliveries')
    assert {tuple(row) for row in rows} == {(one.topic, one.partition, one.offset) for one in (signed, later)}
