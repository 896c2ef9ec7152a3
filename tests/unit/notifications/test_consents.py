"""When a consent to updates takes effect, and which of a batch stand."""

from __future__ import annotations

from datetime import UTC, datetime

from services.notifications.domain.consents import GivenConsent, standing
from services.notifications.domain.deliveries import ActEvent, NewDelivery

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
