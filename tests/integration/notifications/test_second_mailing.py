"""A second mailing, declared here and nowhere else: thanks by mail, for those who want a campaign's updates."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from deploy.local.endpoints import Endpoints
from services.notifications.domain.acts import Act
from services.notifications.domain.plan import DailyLimit, Gathering
from services.notifications.mailing import Event, Mailing
from services.notifications.mailings.confirmation.definition import CONFIRMATION
from services.notifications.settings import Settings
from shared.catalog import Catalog
from shared.privacy.sealing import Person
from tests.support.mailing import NotificationsHarness, notifications_harness
from tests.support.post_office import run_smtp_server
from tests.support.preferences_site import preferences_client

MINUTE, DAY = 60, 86_400
ANA = Person(given_name="Ana", family_name="Díaz", email="ana@example.org")


@dataclass(frozen=True)
class ThanksView:
    language: str
    subject: str
    organisation: str
    cases: tuple[str, ...]
    greets_by_name: bool = True


class ThanksViewBuilder:
    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings

    def build(self, acts: Sequence[Act], locale: str, planned_at: datetime) -> ThanksView:
        del planned_at
        cases = tuple(self._catalog.cases[act.case].name for act in acts)
        return ThanksView(locale, f"Thank you, {acts[0].person.given_name}", self._settings.mail_from_name, cases)


@pytest.fixture
def thanks(tmp_path: Path) -> Mailing:
    (tmp_path / "thanks.txt").write_text("{% for case in view.cases %}\nYou stood up for {{ case }}.\n{% endfor %}")
    (tmp_path / "thanks.html").write_text("<p>{{ view.cases|join(', ') }}</p><a href='{{ unsubscribe }}'>No more</a>")

    def trigger(event: Event) -> bool:
        return event.submission is None

    return Mailing(
        name="thanks",
        consent="updates",
        events=frozenset({"signature-confirmed"}),
        trigger=trigger,
        expires_at=lambda _, accepted_at: accepted_at + timedelta(days=2),
        gathering=Gathering(
            daily_limit=DailyLimit("thanks", 1),
            period=timedelta(minutes=1),
            max_wait=timedelta(minutes=5),
            max_acts=10,
            max_other_data=0,
        ),
        view_builder=ThanksViewBuilder,
        templates=tmp_path,
    )


@pytest.fixture
async def harness(
    platform: Endpoints,
    make_database: Callable[[str], Awaitable[str]],
    make_topic: Callable[..., Awaitable[str]],
    tmp_path: Path,
    thanks: Mailing,
) -> AsyncIterator[NotificationsHarness]:
    url = await make_database("notifications")
    async with (
        run_smtp_server() as smtp_server,
        notifications_harness(platform["kafka"], url, make_topic, smtp_server, tmp_path) as harness,
    ):
        harness.mailings = (CONFIRMATION, thanks)
        yield harness


def subjects(harness: NotificationsHarness) -> list[str]:
    return [re.sub(r":.*", "", str(mail.message["Subject"])) for mail in harness.smtp_server.mails]


async def mails_by_mailing(harness: NotificationsHarness) -> dict[str, int]:
    return dict(map(tuple, await harness.pool.fetch("SELECT mailing, count(*) FROM mails GROUP BY mailing")))


async def test_it_goes_only_to_who_wanted_updates_and_confirmed_and_only_once(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        wants = await harness.upstream.sign(campaign, ANA, updates=True)
        silent = await harness.upstream.sign(campaign, Person("Bo", "Li", "bo@example.org"))
        await harness.upstream.sign(campaign, Person("Cy", "Ro", "cy@example.org"), updates=True)
        await harness.wait_until_settled()
        for signed in (wants, silent, wants):
            await harness.upstream.confirm(campaign, signed)
        await harness.wait_until_settled()
    [mail] = [mail for mail in harness.smtp_server.mails if "Thank you" in str(mail.message["Subject"])]
    assert mail.to == "ana@example.org"
    assert mail.message["Subject"] == "Thank you, Ana"
    assert mail.text.strip() == "You stood up for Khaled Drareni."
    assert harness.recipient_keys.token(harness.recipient_keys.recipient_key(ANA.email)) in mail.part("html")
    assert await mails_by_mailing(harness) == {"confirmation": 3, "thanks": 1}
    states = await harness.pool.fetch("SELECT state, sealed FROM deliveries WHERE mailing = 'thanks'")
    assert list(map(tuple, states)) == [("sent", None)]


async def test_it_does_not_count_against_the_limit_of_the_confirmation(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running():
        for number in range(3):
            signed = await harness.upstream.sign(campaign, ANA, petition=f"petition-{number}", updates=True)
            await harness.wait_until_settled()
            await harness.upstream.confirm(campaign, signed)
            await harness.wait_until_settled()
            harness.clock.advance(11 * MINUTE)
            await harness.wait_until_planned()
    assert subjects(harness) == ["Please confirm", "Thank you, Ana", "Please confirm", "Please confirm"]
    assert await mails_by_mailing(harness) == {"confirmation": 3, "thanks": 1}


async def test_under_a_shared_limit_it_waits_until_the_day_has_room(
    harness: NotificationsHarness, thanks: Mailing
) -> None:
    shared = replace(thanks.gathering, daily_limit=CONFIRMATION.gathering.daily_limit)
    harness.mailings = (CONFIRMATION, replace(thanks, gathering=shared))
    campaign = await harness.upstream.campaign("w4r")
    began = harness.clock.now()
    async with harness.running():
        for number in range(3):
            signed = await harness.upstream.sign(campaign, ANA, petition=f"petition-{number}", updates=True)
            await harness.wait_until_settled()
            harness.clock.advance(11 * MINUTE)
            await harness.wait_until_planned()
        await harness.upstream.confirm(campaign, signed)
        await harness.wait_until_settled()
        harness.clock.set(began + DAY - MINUTE)
        await harness.wait_until_planned()
        assert subjects(harness) == ["Please confirm"] * 3
        harness.clock.set(began + DAY + MINUTE)
        await harness.wait_until_planned()
    assert subjects(harness) == [*["Please confirm"] * 3, "Thank you, Ana"]


async def test_it_expires_by_its_own_rule_and_ends_with_the_act(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(harness.create_loop().run):
        late, withdrawn = [
            await harness.upstream.sign(campaign, person, updates=True)
            for person in (ANA, Person("Bo", "Li", "bo@example.org"))
        ]
        for signed in (late, withdrawn):
            await harness.upstream.confirm(campaign, signed)
        await harness.wait_until_consumed()
        await harness.upstream.withdraw(campaign, withdrawn)
        await harness.wait_until_consumed()
    harness.clock.advance(3 * DAY)
    async with harness.running(*harness.sender_parts()):
        await harness.wait_until_planned()
    rows = await harness.pool.fetch("SELECT state FROM deliveries WHERE mailing = 'thanks' ORDER BY state")
    assert [row[0] for row in rows] == ["expired", "withdrawn"]
    assert not harness.smtp_server.mails


async def test_who_unsubscribed_gets_none(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    token = harness.recipient_keys.token(harness.recipient_keys.recipient_key(ANA.email))
    async with harness.running(), preferences_client(harness) as web:
        signed = await harness.upstream.sign(campaign, ANA, updates=True)
        await harness.wait_until_settled()
        await web.post(f"/v1/unsubscribe/{token}")
        await harness.upstream.confirm(campaign, signed)
        await harness.wait_until_settled()
        await web.post(f"/preferences/{token}", data={"mail": "some"})
        harness.clock.advance(DAY)
        await harness.wait_until_planned()
    assert subjects(harness) == ["Please confirm"]


def test_a_mailing_without_a_consent_needs_an_event_with_an_address(thanks: Mailing) -> None:
    with pytest.raises(ValueError, match="carry an address"):
        replace(thanks, consent=None)
