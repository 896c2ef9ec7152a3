"""The source of all views, and the parts that several of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from shared.clock import parse_rfc3339
from shared.events.marathon import CampaignChanged, CaseChanged, Texts, TotalsChanged
from shared.web.strokes import Strokes, milestone, strokes

DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600
Phase = Literal["before", "open", "closed"]


class CatalogView(Protocol):
    """Campaigns, cases and totals by slug: the catalog, or sample data. `ready` once nothing is missing."""

    @property
    def campaigns(self) -> Mapping[str, CampaignChanged]: ...
    @property
    def cases(self) -> Mapping[str, CaseChanged]: ...
    @property
    def totals(self) -> Mapping[str, TotalsChanged]: ...
    @property
    def ready(self) -> bool: ...


def campaign_languages(catalog: CatalogView, case: str | None) -> tuple[str, ...]:
    """Return the languages of a case's campaign; none if either is unknown."""
    entry = catalog.cases.get(case) if case is not None else None
    campaign = catalog.campaigns.get(entry.campaign) if entry is not None else None
    return campaign.languages if campaign is not None else ()


@dataclass(frozen=True, slots=True)
class LocalizedText:
    """A text and its language, which may differ from the page's."""

    text: str
    language: str


def localize(texts: Texts, language: str) -> LocalizedText:
    """Return a text in `language`, else in its first language."""
    code = language if language in texts else next(iter(texts), language)
    return LocalizedText(texts.get(code, ""), code)


@dataclass(frozen=True, slots=True)
class LocalizedList:
    """Several short texts and their language."""

    lines: tuple[str, ...]
    language: str


def localize_list(texts: Mapping[str, tuple[str, ...]], language: str) -> LocalizedList:
    """Return a list in `language`, else in its first language; empty if it has none."""
    code = language if language in texts else next(iter(texts), language)
    return LocalizedList(texts.get(code, ()), code)


@dataclass(frozen=True, slots=True)
class CountView:
    """A count, its strokes, and the remainder. `scale` is the count of all strokes: the goal, or a round number."""

    count: int
    goal: int | None
    scale: int
    as_of: str | None
    strokes: Strokes

    @property
    def remaining(self) -> int:
        return max(0, self.scale - self.count)

    @property
    def per_stroke(self) -> int | None:
        """The acts of one stroke, if that is a whole number."""
        return self.scale // self.strokes.total if self.scale % self.strokes.total == 0 else None


def count_view(
    count: int, goal: int | None, as_of: str | None, *, scale: int | None = None, total: int = 100
) -> CountView:
    """Return the count with its strokes; without a goal, the scale is `scale` or the next round number."""
    whole = goal or scale or milestone(count)
    return CountView(count, goal, whole, as_of, strokes(count, whole, total))


def case_goal(campaign: CampaignChanged, case: CaseChanged) -> int | None:
    """Return a case's goal, or the campaign's goal if it is the campaign's only case."""
    return case.goal or (campaign.goal if campaign.cases == (case.slug,) else None)


@dataclass(frozen=True, slots=True)
class CampaignWindow:
    """The opening and closing of a campaign, relative to one moment."""

    opens: str
    closes: str
    phase: Phase
    days_left: int
    hours_left: int


def campaign_window(campaign: CampaignChanged, now: float) -> CampaignWindow:
    """Return the window of a campaign; `opens` is inclusive, `closes` exclusive, days and hours left are whole."""
    opens, closes = parse_rfc3339(campaign.opens), parse_rfc3339(campaign.closes)
    phase: Phase = "before" if now < opens else "open" if now < closes else "closed"
    seconds_left = max(0, int(closes - now))
    return CampaignWindow(
        campaign.opens, campaign.closes, phase, seconds_left // DAY_SECONDS, seconds_left // HOUR_SECONDS
    )


def sorted_campaigns(catalog: CatalogView, now: float) -> list[CampaignChanged]:
    """Return every campaign at `now`: open ones first, then those before their opening, then closed ones."""
    order: dict[Phase, int] = {"open": 0, "before": 1, "closed": 2}
    return sorted(
        catalog.campaigns.values(),
        key=lambda campaign: (order[campaign_window(campaign, now).phase], campaign.closes, campaign.slug),
    )
