"""What views are made from, and the parts that several of them share."""

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
    """Campaigns, cases and totals by slug: the catalog, or a test's own."""

    @property
    def campaigns(self) -> Mapping[str, CampaignChanged]: ...
    @property
    def cases(self) -> Mapping[str, CaseChanged]: ...
    @property
    def totals(self) -> Mapping[str, TotalsChanged]: ...


@dataclass(frozen=True, slots=True)
class Words:
    """A text, and the language it is in where that is not the page's."""

    text: str
    language: str


def say(texts: Texts, language: str) -> Words:
    """A text in `language`, else in the first language it has."""
    if language in texts:
        return Words(texts[language], language)
    for code, text in texts.items():
        return Words(text, code)
    return Words("", language)


@dataclass(frozen=True, slots=True)
class WordsList:
    """Several short texts, and the language they are in."""

    lines: tuple[str, ...]
    language: str


def say_list(texts: Mapping[str, tuple[str, ...]], language: str) -> WordsList:
    """A list in `language`, else in the first language it has; empty where it has none."""
    code = language if language in texts else next(iter(texts), language)
    return WordsList(texts.get(code, ()), code)


@dataclass(frozen=True, slots=True)
class CountView:
    """A count, its strokes, and what is left. `scale` is what a hundred strokes are: the goal, or a round number."""

    count: int
    goal: int | None
    scale: int
    as_of: str | None
    strokes: Strokes

    @property
    def to_go(self) -> int:
        return max(0, self.scale - self.count)

    @property
    def each(self) -> int | None:
        """What one stroke is worth, where that is a whole number."""
        return self.scale // self.strokes.of if self.scale % self.strokes.of == 0 else None


def count_of(count: int, goal: int | None, as_of: str | None, *, scale: int | None = None, of: int = 100) -> CountView:
    """The count as it is drawn; without a goal on `scale`, or on the next round number."""
    whole = goal or scale or milestone(count)
    return CountView(count, goal, whole, as_of, strokes(count, whole, of))


def goal_of(campaign: CampaignChanged, case: CaseChanged) -> int | None:
    """What a case is drawn towards: its own goal, and where a campaign has one case alone the campaign's."""
    return case.goal or (campaign.goal if campaign.cases == (case.slug,) else None)


@dataclass(frozen=True, slots=True)
class Window:
    """When a campaign runs, seen from one moment."""

    opens: str
    closes: str
    phase: Phase
    days_left: int
    hours_left: int


def window_of(campaign: CampaignChanged, now: float) -> Window:
    """`opens` is inclusive, `closes` exclusive. Days and hours left are whole ones."""
    opens, closes = parse_rfc3339(campaign.opens), parse_rfc3339(campaign.closes)
    phase: Phase = "before" if now < opens else "open" if now < closes else "closed"
    left = max(0, int(closes - now))
    return Window(campaign.opens, campaign.closes, phase, left // DAY_SECONDS, left // HOUR_SECONDS)
