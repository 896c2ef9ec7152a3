"""The consent to a campaign's updates: when it takes effect, what ends it, and until when an address is kept for it.

It is given by a submission whose box is ticked, and takes effect when the link about just this submission is pressed,
so that who signs with another's address gains nothing; where no confirmation is asked for, with the submission.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from services.notifications.domain.deliveries import ActEvent, NewDelivery
from shared.clock import parse_rfc3339, utc
from shared.events.marathon import CampaignChanged
from shared.events.values import Evidence


class GivenConsent(NamedTuple):
    """A consent, with the submission that gives it. `since` is when it takes effect, None while its link is awaited."""

    submission: NewDelivery
    since: datetime | None


def takes_effect(evidence: Evidence, campaign: CampaignChanged) -> Literal["at-once", "when-confirmed", "never"]:
    """Return when the consent of a submission of this evidence takes effect.

    Nobody is asked to confirm what is only self-reported, so in a campaign that asks for confirmations it never does.
    """
    if campaign.policies.confirmation == "none" or evidence == "confirmed":
        return "at-once"
    return "when-confirmed" if evidence == "recorded" else "never"


def kept_until(campaign: CampaignChanged, *, confirmed: bool) -> datetime:
    """Return until when the address of a consent is kept: as long as something may still be sent to it.

    That is until the day (UTC) on which the campaign's sealed data goes, which is later than the end of confirmations;
    or that end, for a consent that is not `confirmed` or where the campaign names no day.
    """
    if confirmed and campaign.sealed_until is not None:
        return utc(parse_rfc3339(f"{campaign.sealed_until}T00:00:00Z"))
    return utc(parse_rfc3339(campaign.confirmations_close))


def standing(given: Iterable[GivenConsent], withdrawn: Iterable[ActEvent]) -> list[GivenConsent]:
    """Return those of `given` that no withdrawal in the same batch ended: of each version of an act the first, or the
    first that takes effect at once.
    """
    withdrawn_offsets = {event.key: event.offset for event in sorted(withdrawn, key=lambda event: event.offset)}
    by_version: dict[tuple[bytes, bytes, bytes], GivenConsent] = {}
    for consent in given:
        submission = consent.submission
        if submission.offset > withdrawn_offsets.get(submission.key, -1):
            version = submission.key, submission.digest, submission.address
            known = by_version.get(version)
            if known is None or (known.since is None and consent.since is not None):
                by_version[version] = consent
    return list(by_version.values())
