"""What a mailing is. Planning, writing and sending work from definitions alone; these are in `mailings`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from services.notifications.domain.acts import Act
from services.notifications.domain.plan import Gathering
from services.notifications.settings import Settings
from shared.catalog import Catalog
from shared.counting.event_decoder import SubmissionRecord
from shared.events.marathon import CampaignChanged

Consent = Literal["updates"]


class Event(NamedTuple):
    """An event about an act, as a trigger sees it: its CloudEvents type; of a submission also fields and campaign."""

    type: str
    submission: SubmissionRecord | None = None
    campaign: CampaignChanged | None = None


class View(Protocol):
    """The content of a mail, of which its templates use whatever they need. `language` is a code."""

    @property
    def language(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def greets_by_name(self) -> bool: ...
    @property
    def organisation(self) -> str: ...


class ViewBuilder(Protocol):
    """Builds the views of a mailing."""

    def build(self, acts: Sequence[Act], locale: str, planned_at: datetime) -> View:
        """Build the view of a mail about `acts`, planned at `planned_at`, to a person who acted in `locale`.

        Raises:
            TransientError: the catalog does not hold a campaign, a case or a key yet.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailing:
    """One kind of mail.

    `name` is what rows and events know it by. Without a `consent` it goes to whoever acted (transactional), to the
    address in the submission that triggers it; with one, only to who gave that consent, to the address of the
    submission that gave it. `trigger` says whether one of `events` (submissions and confirmations) makes a delivery.
    A delivery about an act of a campaign, made at a time, gets no mail from `expires_at(campaign, time)` on.
    `templates` is the folder of `<name>.txt` and `<name>.html`, which get the view as `view`.

    Raises:
        ValueError: an event that carries no address would trigger a mailing that needs no consent.
    """

    name: str
    consent: Consent | None = None
    events: frozenset[str]
    trigger: Callable[[Event], bool]
    expires_at: Callable[[CampaignChanged, datetime], datetime]
    gathering: Gathering
    view_builder: Callable[[Catalog, Settings], ViewBuilder]
    templates: Path

    def __post_init__(self) -> None:
        if self.consent is None and not all(name.endswith("-submitted") for name in self.events):
            raise ValueError(f"mailing {self.name}: only submissions carry an address; later events need a consent")
