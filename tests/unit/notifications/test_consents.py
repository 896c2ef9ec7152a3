"""Which consents to updates of a batch stand, and until when their addresses are kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.notifications.domain.consents import GivenConsent, kept_until, standing
from services.notifications.domain.deliveries import ActEvent, NewDelivery
from shared.events.marathon import CampaignChanged, Policies

AT = datetime(2026, 12, 1, tzinfo=UTC)


def given(offset: int, *, key: bytes = b"act", digest: bytes = b"ana", since: datetime | None = None) -> GivenConsent:
    return GivenConsent(
        NewDelivery(
            topic="topic",
            partition=0,
            offset=offset,
            recipient=b"recipient",
            address=b"ana@example.org",
            campaign="w4r",
            case="case",
            subject="subject",
            kind="signature",
            key=key,
            digest=digest,
            other_data=False,
            accepted_at=AT,
            locale="en",
            sealed=b"sealed",
            seal_key=1,
            network="home",
        ),
        since,
    )


def withdrawn(offset: int) -> ActEvent:
    return ActEvent("topic", 0, offset, b"act", AT)


def test_of_each_version_of_an_act_the_first_stands() -> None:
    consents = [given(0), given(1, digest=b"bob"), given(2), given(3, key=b"another")]
    assert standing(consents, []) == [consents[0], consents[1], consents[3]]


def test_what_came_before_a_withdrawal_does_not_stand() -> None:
    consents = [given(0), given(2), given(4, key=b"another")]
    assert standing(consents, [withdrawn(3), withdrawn(1)]) == [consents[2]]
    assert standing(consents, [withdrawn(1)]) == consents[1:]


def test_one_that_takes_effect_at_once_comes_before_one_that_waits_for_its_link() -> None:
    waiting, first, second = given(0), given(1, since=AT), given(2, since=AT)
    assert standing([waiting, first, second], []) == [first]


@pytest.mark.parametrize(
    ("sealed_until", "confirmed", "unconfirmed"),
    [
        (None, "2027-01-08", "2027-01-08"),
        ("2028-12-31", "2028-12-31", "2027-01-08"),
    ],
)
def test_an_address_is_kept_until_sealed_data_goes_and_an_unconfirmed_one_while_links_work(
    sealed_until: str | None, confirmed: str, unconfirmed: str
) -> None:
    campaign = CampaignChanged(
        slug="w4r",
        version=1,
        title={"en": "Write"},
        opens="2026-11-20T00:00:00Z",
        closes="2027-01-01T00:00:00Z",
        confirmations_close="2027-01-08T00:00:00Z",
        goal=None,
        languages=("en",),
        policies=Policies(),
        cases=(),
        sealed_until=sealed_until,
    )
    assert kept_until(campaign, confirmed=True) == datetime.fromisoformat(f"{confirmed}T00:00:00Z")
    assert kept_until(campaign, confirmed=False) == datetime.fromisoformat(f"{unconfirmed}T00:00:00Z")
