"""notifications from events to mails, with a real broker, a real database and a real SMTP server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from deploy.local.endpoints import Endpoints
from shared.privacy import dedupe, tokens
from shared.privacy.sealing import Person
from tests.support.mailing import NotificationsHarness, PublishedSubmission, notifications_harness
from tests.support.post_office import ReceivedMail, run_smtp_server

MINUTE, DAY = 60, 24 * 3600
ANA = Person(given_name="Ana", family_name="Díaz", email="ana@example.org")


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


def links(mail: ReceivedMail, purpose: str = "confirm") -> list[str]:
    return re.findall(rf"^    (http\S+/{purpose}/\S+)$", mail.text, re.MULTILINE)


def linked_acts(harness: NotificationsHarness, link: str) -> set[tuple[str, int, int, bytes]]:
    """Return the acts that a link confirms, read as petitions and letters read it."""
    text = link.rpartition("/")[2].partition("?")[0]
    token = tokens.read(text, harness.upstream.catalog.keys[tokens.campaign_of(text)].token)
    return {(act.topic, act.partition, act.offset, act.digest) for act in token.acts}


def submission_refs(*submissions: PublishedSubmission) -> set[tuple[str, int, int, bytes]]:
    return {(ref.topic, ref.partition, ref.offset, ref.digest) for ref in submissions}


async def test_the_first_confirmation_goes_at_once_with_links_that_name_the_submission(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        signed = await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
    [mail] = harness.smtp_server.mails_to("ana@example.org")
    [confirm], [withdraw] = links(mail), links(mail, "withdraw")
    assert confirm.startswith("http://127.0.0.1:8101/confirm/")
    assert linked_acts(harness, confirm) == linked_acts(harness, withdraw) == submission_refs(signed)
    assert mail.message["Subject"] == "Please confirm: your signature for Khaled Drareni"
    assert mail.message["To"] == "Ana Díaz <ana@example.org>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "Ana, one step is left." in mail.text
    assert confirm in mail.part("html")
    assert await harness.delivery_states() == {"mailed": 1}


async def test_what_follows_in_ten_minutes_goes_in_one_mail_with_one_button_for_each_service(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
        signed = [await harness.upstream.sign(campaign, ANA, petition=f"petition-{number}") for number in range(3)]
        written = [
            await harness.upstream.write(
                campaign, Person(given_name="Ana", family_name="D", email=ANA.email, text=text)
            )
            for text in ("Dear Khaled", "Cher Khaled")
        ]
        await harness.wait_until_settled()
        assert len(harness.smtp_server.mails) == 1
        harness.clock.advance(10 * MINUTE + 1)
        await harness.wait_until_planned()
    [_, second] = harness.smtp_server.mails_to("ana@example.org")
    [signatures, messages] = links(second)
    assert linked_acts(harness, signatures) == submission_refs(*signed)
    assert linked_acts(harness, messages) == submission_refs(*written)
    assert messages.startswith("http://127.0.0.1:8102/letters/confirm/")
    assert second.message["Subject"] == "Please confirm: 5 acts wait for you"


async def test_the_third_mail_of_a_day_covers_what_is_unconfirmed_and_a_fourth_waits(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    signed = []
    began = harness.clock.now()
    async with harness.running():
        for number in range(3):
            signed.append(await harness.upstream.sign(campaign, ANA, petition=f"petition-{number}"))
            await harness.wait_until_settled()
            if number == 1:
                await harness.upstream.confirm(campaign, signed[0])
            harness.clock.advance(11 * MINUTE)
            await harness.wait_until_planned()
        assert len(harness.smtp_server.mails) == 3
        signed.append(await harness.upstream.sign(campaign, ANA, petition="petition-4"))
        await harness.wait_until_settled()
        harness.clock.set(began + DAY - MINUTE)
        await harness.wait_until_planned()
        assert len(harness.smtp_server.mails) == 3
        harness.clock.set(began + DAY + MINUTE)
        await harness.wait_until_planned()
    mails = harness.smtp_server.mails_to("ana@example.org")
    assert [linked_acts(harness, links(mail)[0]) for mail in mails] == [
        submission_refs(signed[0]),
        submission_refs(signed[1]),
        submission_refs(signed[1], signed[2]),
        # Two mails of the day before still count: again the last one, with all that waits.
        submission_refs(*signed[1:]),
    ]


async def test_a_flood_for_one_address_gets_three_mails_a_day_with_the_first_act_in_front(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        for number in range(300):
            await harness.upstream.sign(campaign, Person(given_name=f"A{number}", family_name="B", email=ANA.email))
        await harness.wait_until_settled()
        for _ in range(23):
            harness.clock.advance(3600)
            await harness.wait_until_planned()
    assert len(harness.smtp_server.mails) == 3
    assert max(len(links(mail)) for mail in harness.smtp_server.mails) <= 11


async def test_a_flood_of_letters_in_somebodys_name_does_not_hold_up_their_own(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(harness.create_loop().run):
        for number in range(300):
            text = Person(given_name="Ana", family_name="D", email=ANA.email, text=f"Letter {number}")
            await harness.upstream.write(campaign, text, network="elsewhere")
        own = await harness.upstream.write(
            campaign, Person(given_name="Ana", family_name="D", email=ANA.email, text="Mine")
        )
        await harness.wait_until_consumed()
    async with harness.running(*harness.sender_parts()):
        await harness.wait_until_planned()
    [mail] = harness.smtp_server.mails
    [link] = links(mail)
    assert submission_refs(own) < linked_acts(harness, link)
    assert await harness.pool.fetchval("SELECT count(*) FROM deliveries WHERE network IS NULL") == 0
    await harness.upstream.confirm(campaign, own)
    async with harness.running(harness.create_loop().run):
        await harness.wait_until_consumed()
    assert await harness.pool.fetchval("SELECT state FROM deliveries WHERE network IS NULL") == "confirmed"


async def test_a_repeat_makes_no_mail_and_a_repeat_after_a_withdrawal_makes_one(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        first = await harness.upstream.sign(campaign, ANA)
        await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
        harness.clock.advance(11 * MINUTE)
        await harness.wait_until_planned()
        assert len(harness.smtp_server.mails) == 1
        await harness.upstream.withdraw(campaign, first)
        second = await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
    assert [linked_acts(harness, links(mail)[0]) for mail in harness.smtp_server.mails] == [
        submission_refs(first),
        submission_refs(second),
    ]


async def test_other_data_for_the_same_act_has_a_button_of_its_own(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    stranger = Person(given_name="Bob", family_name="Smith", email=ANA.email)
    async with harness.running():
        await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
        other = await harness.upstream.sign(campaign, stranger)
        later = await harness.upstream.sign(campaign, ANA, petition="another")
        await harness.wait_until_settled()
        harness.clock.advance(10 * MINUTE)
        await harness.wait_until_planned()
    second = harness.smtp_server.mails_to("ana@example.org")[1]
    assert [linked_acts(harness, link) for link in links(second)] == [submission_refs(later), submission_refs(other)]
    assert "Confirm it as Bob Smith" in second.text
    assert "One step is left." in second.text


async def test_a_mail_goes_only_to_the_spelling_that_it_is_about(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    spellings = ("ana@gmail.com", "a.na@gmail.com")
    async with harness.running():
        signed = [
            await harness.upstream.sign(
                campaign, Person(given_name="Ana", family_name="D", email=email), petition=f"petition-{number}"
            )
            for number, email in enumerate((*spellings, *spellings))
        ]
        await harness.wait_until_settled()
        for _ in range(3):
            harness.clock.advance(11 * MINUTE)
            await harness.wait_until_planned()
    for email, theirs in zip(spellings, (signed[::2], signed[1::2]), strict=True):
        covered = [linked_acts(harness, link) for mail in harness.smtp_server.mails_to(email) for link in links(mail)]
        assert set().union(*covered) == submission_refs(*theirs)


async def test_what_was_confirmed_or_withdrawn_before_the_mail_is_not_in_it(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
        confirmed, withdrawn, unconfirmed = [
            await harness.upstream.sign(campaign, ANA, petition=f"petition-{number}") for number in range(3)
        ]
        await harness.upstream.confirm(campaign, confirmed)
        await harness.upstream.withdraw(campaign, withdrawn)
        await harness.wait_until_settled()
        harness.clock.advance(10 * MINUTE)
        await harness.wait_until_planned()
    [link] = links(harness.smtp_server.mails[1])
    assert linked_acts(harness, link) == submission_refs(unconfirmed)
    assert await harness.delivery_states() == {"mailed": 2, "confirmed": 1, "withdrawn": 1}


async def test_an_address_that_a_partner_confirmed_gets_no_mail(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        await harness.upstream.sign(campaign, ANA, evidence="confirmed")
        await harness.wait_until_settled()
    assert not await harness.delivery_states()
    assert not harness.smtp_server.mails


async def test_a_campaign_without_confirmation_sends_no_mail(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("quiet", confirmation="none")
    async with harness.running():
        await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
    assert not await harness.delivery_states()


async def test_a_replay_of_the_topics_makes_no_delivery_and_no_mail(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        signed = await harness.upstream.sign(campaign, ANA)
        await harness.upstream.sign(campaign, ANA)
        await harness.upstream.withdraw(campaign, signed)
        await harness.upstream.sign(campaign, ANA)
        await harness.upstream.write(campaign, ANA)
        await harness.wait_until_settled()
        harness.clock.advance(10 * MINUTE)
        await harness.wait_until_planned()
    before = await harness.pool.fetch('SELECT * FROM deliveries ORDER BY topic, partition, "offset"')
    sent = len(harness.smtp_server.mails)
    await harness.pool.execute("UPDATE positions SET next = 0, digest = NULL")
    async with harness.running():
        await harness.wait_until_settled()
        harness.clock.advance(10 * MINUTE)
        await harness.wait_until_planned()
    assert await harness.pool.fetch('SELECT * FROM deliveries ORDER BY topic, partition, "offset"') == before
    assert len(harness.smtp_server.mails) == sent


async def test_a_mail_speaks_the_language_of_the_person(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        await harness.upstream.sign(campaign, ANA, locale="fr")
        await harness.wait_until_settled()
    [mail] = harness.smtp_server.mails
    assert mail.message["Subject"] == "À confirmer : votre signature pour Khaled Drareni"
    assert "Ana, il reste une étape." in mail.text
    assert "Libérez Khaled Drareni" in mail.text
    assert '<html lang="fr" dir="ltr">' in mail.part("html")
    assert all(link.endswith("?lang=fr") for link in links(mail) + links(mail, "withdraw"))


async def test_in_safety_mode_the_subject_names_nobody(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("safe", confirmation="required", safety_mode=True)
    async with harness.running():
        await harness.upstream.sign(campaign, ANA)
        await harness.wait_until_settled()
    [mail] = harness.smtp_server.mails
    assert mail.message["Subject"] == "Please confirm: one step is left"
    assert "Drareni" not in str(mail.message["Subject"])


async def test_addresses_outside_ascii_are_reached(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        for address in ("ana@exämple.org", "añã@example.org"):
            await harness.upstream.sign(campaign, Person(given_name="Ana", family_name="D", email=address))
        await harness.wait_until_settled()
    assert {mail.to for mail in harness.smtp_server.mails} == {"ana@xn--exmple-cua.org", "añã@example.org"}


async def test_a_record_that_cannot_be_read_is_passed_over(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    key = bytes(16)
    async with harness.running():
        for value, version in ((b"{", "1.0"), (b"\xff", "1.0"), (b"{}", "1.0"), (None, "1.0"), (b"{}", "9.0")):
            await harness.upstream.publish(
                harness.upstream.signatures, "signature-submitted", key, value, version=version
            )
        await harness.upstream.publish(harness.upstream.signatures, "signature-confirmed", key, b'{"digest": 1}')
        await harness.upstream.publish(harness.upstream.signatures, "signature-invalidated", key, b"{}")
        foreign = await harness.upstream.sign(campaign, ANA)
        await harness.upstream.producer.send_and_wait(
            harness.upstream.messages, b"no event at all", key=key, partition=foreign.partition
        )
        await harness.wait_until_settled()
    assert len(harness.smtp_server.mails) == 1


async def test_a_redriven_submission_is_the_one_that_it_was(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        signed = await harness.upstream.sign(campaign, ANA)
        later = await harness.upstream.sign(campaign, ANA, petition="another")
        for _ in range(2):
            await harness.upstream.redrive(signed)
        await harness.wait_until_settled()
        harness.clock.advance(10 * MINUTE)
        await harness.wait_until_planned()
    rows = await harness.pool.fetch('SELECT topic, partition, "offset" FROM deliveries')
    assert {tuple(row) for row in rows} == {(ref.topic, ref.partition, ref.offset) for ref in (signed, later)}


async def test_a_message_that_the_counter_refuses_gets_no_mail(
    harness: NotificationsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        with monkeypatch.context() as patched:
            patched.setattr(dedupe, "person_key", lambda *_: b"not 16 bytes")
            await harness.upstream.write(campaign, ANA)
        await harness.upstream.write(campaign, msgspec.structs.replace(ANA, email="bob@example.org"))
        await harness.wait_until_settled()
    assert harness.smtp_server.mails_to("ana@example.org") == []
    assert len(harness.smtp_server.mails_to("bob@example.org")) == 1
