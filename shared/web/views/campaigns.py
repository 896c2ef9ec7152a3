"""The front page and a campaign's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.events.marathon import CampaignChanged
from shared.web.formats import alphabetical
from shared.web.strokes import milestone
from shared.web.views.catalog_view import CatalogView, CountView, Window, Words, count_of, goal_of, say, window_of


@dataclass(frozen=True, slots=True)
class CaseCard:
    """A case in a list. `fewest` marks the one with the fewest acts so far."""

    slug: str
    name: str
    country: str
    summary: Words
    count: CountView
    fewest: bool = False


@dataclass(frozen=True, slots=True)
class CampaignView:
    """A campaign with its total and its cases in alphabetical order."""

    slug: str
    title: Words
    organisation: str
    languages: tuple[str, ...]
    window: Window
    state: str
    count: CountView
    cases: tuple[CaseCard, ...]

    @property
    def common_goal(self) -> int | None:
        """The goal of every case, where they have the same."""
        goals = {card.count.goal for card in self.cases}
        return goals.pop() if len(goals) == 1 else None


@dataclass(frozen=True, slots=True)
class HomeView:
    """Every campaign: those that are open first, then what is to come, then what is over."""

    campaigns: tuple[CampaignView, ...]


def campaign_view(known: CatalogView, slug: str, *, now: float, language: str, strokes: int = 100) -> CampaignView:
    """The campaign `slug` at `now` (seconds since 1970). `strokes` is how many a case's count is drawn with.

    Raises:
        KeyError: there is no such campaign.
    """
    campaign = known.campaigns[slug]
    totals = known.totals.get(slug)
    total = totals.public_total if totals else 0
    return CampaignView(
        slug=slug,
        title=say(campaign.title, language),
        organisation=campaign.organisation,
        languages=campaign.languages,
        window=window_of(campaign, now),
        state=totals.state if totals else "live",
        count=count_of(total, campaign.goal, totals.as_of if totals else None),
        cases=case_cards(known, campaign, language, strokes),
    )


def home_view(known: CatalogView, *, now: float, language: str) -> HomeView:
    """Every campaign at `now`."""
    views = [campaign_view(known, slug, now=now, language=language) for slug in known.campaigns]
    order = {"open": 0, "before": 1, "closed": 2}
    return HomeView(tuple(sorted(views, key=lambda view: (order[view.window.phase], view.window.closes, view.slug))))


def case_cards(known: CatalogView, campaign: CampaignChanged, language: str, of: int = 100) -> tuple[CaseCard, ...]:
    """The campaign's cases by name; cases without a goal share one scale, so that their strokes compare."""
    totals = known.totals.get(campaign.slug)
    as_of = totals.as_of if totals else None
    cases = sorted(
        (known.cases[slug] for slug in campaign.cases if slug in known.cases), key=lambda case: alphabetical(case.name)
    )
    counts = [totals.by_case.get(case.slug, 0) if totals else 0 for case in cases]
    scale = milestone(max(counts, default=0))
    fewest = _fewest(counts)
    return tuple(
        CaseCard(
            slug=case.slug,
            name=case.name,
            country=case.country,
            summary=say(case.summary, language),
            count=count_of(count, goal_of(campaign, case), as_of, scale=scale, of=of),
            fewest=count == fewest,
        )
        for case, count in zip(cases, counts, strict=True)
    )


def _fewest(counts: Sequence[int]) -> int | None:
    """The smallest count, where only one of several cases has it."""
    least = min(counts, default=0)
    return least if len(counts) > 1 and counts.count(least) == 1 else None
