"""The consent to a campaign's updates: who gives it, when it takes effect, what ends it, how long the address stays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.endpoints import Endpoints
from shared.privacy.sealing import Person
from tests.support.mailing import NotificationsHarness, notifications_harness
from tests.support.post_office import run_smtp_server
from tests.support.preferences_site import preferences_client

DAY = 86_400
ANA = Person(given_name="Ana", family_name="Díaz", email="ana@example.org")
STRANGER = Person(given_name="Bob", family_name="Smith", email=ANA.email)


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


@pytest.fixture
async def consuming(harness: NotificationsHarness) -> AsyncIterator[NotificationsHarness]:
    async with harness.running(harness.create_loop().run):
        yield harness


async def standing(harness: NotificationsHarness) -> list[tuple[str, str]]:
    """Return campaign and opened address of each consent in effect."""
    await harness.wait_until_consumed()
    rows = await harness.pool.fetch(
        "SELECT campaign, topic, subject, key, sealed, seal_key FROM subscriptions "
        "WHERE since IS NOT NULL AND ended_at IS NULL ORDER BY campaign"
    )
    keys = harness.upstream.catalog.keys
    return [
        (campaign, keys[campaign].seal[seal_key].open(sealed, topic=topic, subject=subject, key=key).email)
        for campaign, topic, subject, key, sealed, seal_key in rows
    ]


async def sealed_rows(harness: NotificationsHarness) -> int:
    await harness.wait_until_consumed()
    return int(await harness.pool.fetchval("SELECT count(sealed) FROM subscriptions"))


async def test_a_consent_takes_effect_when_the_link_about_its_submission_is_pressed(
    consuming: NotificationsHarness,
) -> None:
    campaign = await consuming.upstream.campaign("w4r")
    signed = await consuming.upstream.sign(campaign, ANA, updates=True)
    assert await standing(consuming) == []
    await consuming.upstream.confirm(campaign, signed)
    assert await standing(consuming) == [(campaign, ANA.email)]


async def test_who_did_not_ask_for_updates_gives_no_consent(consuming: NotificationsHarness) -> None:
    campaign = await consuming.upstream.campaign("w4r")
    await consuming.upstream.confirm(campaign, await consuming.upstream.sign(campaign, ANA))
    assert await standing(consuming) == []
    assert await consuming.pool.fetchval("SELECT count(*) FROM subscriptions") == 0


@pytest.mark.parametrize("stranger", [STRANGER, ANA])
async def test_a_stranger_who_signs_first_with_anothers_address_gains_nothing(
    consuming: NotificationsHarness, stranger: Person
) -> None:
    campaign = await consuming.upstream.campaign("w4r")
    await consuming.upstream.sign(campaign, stranger, updates=True)
    await consuming.upstream.confirm(campaign, await consuming.upstream.sign(campaign, ANA))
    assert await standing(consuming) == []


@pytest.mark.parametrize(("confirmation", "evidence"), [("none", "recorded"), ("optional", "confirmed")])
async def test_where_nobody_is_asked_to_confirm_it_takes_effect_with_the_submission(
    consuming: NotificationsHarness, confirmation: Any, evidence: Any
) -> None:
    campaign = await consuming.upstream.campaign("w4r", confirmation=confirmation)
    await consuming.upstream.sign(campaign, ANA, updates=True, evidence=evidence)
    assert await standing(consuming) == [(campaign, ANA.email)]


async def test_what_is_only_self_reported_gives_none_where_others_have_to_confirm(
    consuming: NotificationsHarness,
) -> None:
    campaign = await consuming.upstream.campaign("w4r")
    await consuming.upstream.sign(campaign, ANA, updates=True, evidence="self_reported")
    assert await sealed_rows(consuming) == 0


async def test_it_ends_with_the_last_act_that_gave_it(consuming: NotificationsHarness) -> None:
    campaign = await consuming.upstream.campaign("w4r")
    acts = [
        await consuming.upstream.sign(campaign, ANA, updates=True),
        await consuming.upstream.write(campaign, ANA, updates=True),
    ]
    for act in acts:
        await consuming.upstream.confirm(campaign, act)
    await consuming.upstream.withdraw(campaign, acts[0])
    assert await standing(consuming) == [(campaign, ANA.email)]
    await consuming.upstream.withdraw(campaign, acts[1])
    assert await sealed_rows(consuming) == 0


async def test_a_withdrawn_act_that_is_done_again_gives_it_again_once_confirmed(
    consuming: NotificationsHarness,
) -> None:
    campaign = await consuming.upstream.campaign("w4r")
    signed = await consuming.upstream.sign(campaign, ANA, updates=True)
    await consuming.upstream.confirm(campaign, signed)
    await consuming.upstream.withdraw(campaign, signed)
    await consuming.upstream.sign(campaign, ANA, updates=True)
    assert await standing(consuming) == []
    await consuming.upstream.confirm(campaign, signed)
    assert await standing(consuming) == [(campaign, ANA.email)]


async def test_a_confirmation_from_before_a_withdrawal_does_nothing_for_what_came_after(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    signed = await harness.upstream.sign(campaign, ANA, updates=True)
    await harness.upstream.confirm(campaign, signed)
    await harness.upstream.withdraw(campaign, signed)
    await harness.upstream.sign(campaign, ANA, updates=True)
    # All four come in one batch.
    async with harness.running(harness.create_loop().run):
        assert await standing(harness) == []
        assert await sealed_rows(harness) == 1


@pytest.mark.parametrize("confirmation", ["none", "optional"])
async def test_unsubscribing_ends_all_and_a_replay_brings_none_back(
    harness: NotificationsHarness, confirmation: Any
) -> None:
    campaign = await harness.upstream.campaign("w4r", confirmation=confirmation)
    token = harness.recipient_keys.token(harness.recipient_keys.recipient_key(ANA.email))
    async with harness.running(harness.create_loop().run), preferences_client(harness) as web:
        for petition in ("one", "another"):
            signed = await harness.upstream.sign(campaign, ANA, petition=petition, updates=True)
            await harness.upstream.confirm(campaign, signed)
        assert len(await standing(harness)) == 2
        await web.post(f"/v1/unsubscribe/{token}")
        assert await sealed_rows(harness) == 0
        await harness.upstream.sign(campaign, ANA, petition="a third", updates=True)
        assert await sealed_rows(harness) == 0
        await web.post(f"/preferences/{token}", data={"mail": "some"})
    before = await harness.pool.fetch("SELECT * FROM subscriptions ORDER BY key")
    await harness.pool.execute("UPDATE positions SET next = 0, digest = NULL")
    async with harness.running(harness.create_loop().run):
        await harness.wait_until_consumed()
        assert await harness.pool.fetch("SELECT * FROM subscriptions ORDER BY key") == before
        signed = await harness.upstream.sign(campaign, ANA, petition="another", updates=True)
        await harness.upstream.confirm(campaign, signed)
        assert await standing(harness) == [(campaign, ANA.email)]


async def test_a_mailbox_that_is_gone_ends_what_was_agreed_to_with_its_address(harness: NotificationsHarness) -> None:
    campaign = await harness.upstream.campaign("w4r")
    harness.smtp_server.rcpt_answers = {ANA.email: "550 5.1.1 no such user"}
    async with harness.running():
        await harness.upstream.sign(campaign, ANA, updates=True)
        assert await sealed_rows(harness) == 1
        await harness.wait_until_settled()
        assert await sealed_rows(harness) == 0


async def test_an_address_is_kept_until_the_campaign_is_over_and_the_row_forty_days_more(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r")
    async with harness.running(harness.create_loop().run):
        await harness.upstream.confirm(campaign, await harness.upstream.sign(campaign, ANA, updates=True))
        await harness.upstream.sign(campaign, ANA, petition="unconfirmed", updates=True)
        assert len(await standing(harness)) == 1
    # Ten days on the mail's own copy is gone; the campaign takes confirmations for 46 days.
    for days, sealed, rows in ((10, 2, 2), (35, 2, 2), (2, 0, 2), (39, 0, 2), (2, 0, 0)):
        harness.clock.advance(days * DAY)
        await harness.housekeeping().run_once()
        assert await harness.pool.fetchval("SELECT count(sealed) FROM deliveries WHERE state <> 'pending'") == 0
        assert await harness.pool.fetchval("SELECT count(sealed) FROM subscriptions") == sealed
        assert await harness.pool.fetchval("SELECT count(*) FROM subscriptions") == rows


async def test_where_sealed_data_goes_later_only_what_nobody_confirmed_ends_with_the_links(
    harness: NotificationsHarness,
) -> None:
    campaign = await harness.upstream.campaign("w4r", sealed_days=100)
    async with harness.running(harness.create_loop().run):
        await harness.upstream.confirm(campaign, await harness.upstream.sign(campaign, ANA, updates=True))
        await harness.upstream.sign(campaign, ANA, petition="unconfirmed", updates=True)
        assert len(await standing(harness)) == 1
    for days, sealed, rows in ((45, 2, 2), (2, 1, 2), (41, 1, 1), (10, 1, 1), (2, 0, 1)):
        harness.clock.advance(days * DAY)
        await harness.housekeeping().run_once()
        assert await harness.pool.fetchval("SELECT count(sealed) FROM subscriptions") == sealed
        assert await harness.pool.fetchval("SELECT count(*) FROM subscriptions") == rows
