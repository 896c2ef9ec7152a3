"""The definition of the confirmation: three mails a day at most, each with what somebody did in ten minutes."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from services.notifications.domain.plan import DailyLimit, Gathering
from services.notifications.mailing import Event, Mailing
from services.notifications.mailings.confirmation.view import ConfirmationViewBuilder
from shared.clock import parse_rfc3339, utc
from shared.events.marathon import CampaignChanged


def _asks(event: Event) -> bool:
    """Whether a submission is taken unconfirmed in a campaign that asks for confirmations."""
    submission, campaign = event.submission, event.campaign
    if submission is None or campaign is None:
        return False
    return submission.state == "r" and campaign.policies.confirmation != "none"


def _confirmations_close(campaign: CampaignChanged, _accepted_at: datetime) -> datetime:
    return utc(parse_rfc3339(campaign.confirmations_close))


CONFIRMATION: Final = Mailing(
    name="confirmation",
    events=frozenset({"signature-submitted", "message-submitted"}),
    trigger=_asks,
    expires_at=_confirmations_close,
    gathering=Gathering(
        daily_limit=DailyLimit("confirmation", 3),
        period=timedelta(minutes=10),
        max_wait=timedelta(hours=1),
        max_acts=50,
        max_other_data=10,
        until_confirmed=True,
    ),
    view_builder=ConfirmationViewBuilder,
    templates=Path(__file__).parents[2] / "templates",
)
