"""The public board: charts of a campaign, with every figure also in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from shared.clock import parse_rfc3339
from shared.events.marathon import Correction, TotalsChanged
from shared.events.values import Channel, Evidence, Kind
from shared.web.formats import collation_key, formats_for
from shared.web.views.campaigns import CampaignView, campaign_view
from shared.web.views.catalog_view import CatalogView
from shared.web.views.minutes import MinutesView, minutes_view
from shared.web.world import Territory, territories_by_class

OTHER: Final = "other"
UNKNOWN_COUNTRY: Final = "ZZ"
CASE_STROKES: Final = 50
EVIDENCE: Final[tuple[Evidence, ...]] = ("confirmed", "recorded", "offline", "self_reported")
"""From the strongest evidence to the weakest."""
BEHIND_SECONDS: Final = 5.0
"""A snapshot older than this is no longer live."""
Condition = Literal["live", "behind", "final"]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole: a kind, a channel, a language, a country."""

    key: str
    count: int
    whole: int

    @property
    def width(self) -> str:
        """The length of its bar, of 100, rounded down to a tenth."""
        return f"{self.count * 1000 // self.whole / 10 if self.whole > 0 else 0:g}"


@dataclass(frozen=True, slots=True)
class EvidencePart(Part):
    """A class of evidence; `public` is whether the public total includes it; `start` is the start of its bar."""

    public: bool
    start: str


@dataclass(frozen=True, slots=True)
class BoardView:
    """The board at one moment. In safety mode there is neither rate nor minutes."""

    campaign: CampaignView
    condition: Condition
    behind_seconds: float
    version: int
    rate: int
    kinds: tuple[Part, ...]
    channels: tuple[Part, ...]
    languages: tuple[Part, ...]
    evidence: tuple[EvidencePart, ...]
    countries: tuple[Part, ...]
    country_count: int
    other_countries: int
    classes: Sequence[Sequence[Territory]]
    minutes: MinutesView
    withdrawn: int
    corrections: tuple[Correction, ...]
    threshold: int
    public_evidence: tuple[str, ...]
    safety_mode: bool


def board_view(
    catalog: CatalogView, slug: str, history: Sequence[tuple[float, int]] = (), *, now: float, language: str
) -> BoardView:
    """Return the board of the campaign `slug` at `now` (seconds since 1970).

    `history` holds (start of a minute in seconds since 1970, actions accepted in it), at least of the last hour.

    Raises:
        KeyError: no such campaign exists, or it has no totals yet.
    """
    campaign = catalog.campaigns[slug]
    totals = catalog.totals[slug]
    behind = _seconds_behind(totals, now)
    public = campaign.policies.public_evidence
    countries = _countries(totals, language)
    return BoardView(
        campaign=campaign_view(catalog, slug, now=now, language=language, strokes=CASE_STROKES),
        condition=_condition(totals, behind),
        behind_seconds=behind,
        version=totals.version,
        rate=totals.rate_per_minute,
        kinds=_parts(totals.by_kind, get_args(Kind)),
        channels=_parts(totals.by_channel, get_args(Channel)),
        languages=_parts(totals.by_language, ()),
        evidence=evidence_parts(totals.by_evidence, public),
        countries=countries,
        country_count=sum(1 for part in countries if part.key != UNKNOWN_COUNTRY),
        other_countries=totals.by_country.get(OTHER, 0),
        classes=territories_by_class(totals.by_country),
        minutes=minutes_view(history, parse_rfc3339(totals.as_of)),
        withdrawn=totals.withdrawn,
        corrections=tuple(totals.corrections),
        threshold=campaign.policies.public_threshold,
        public_evidence=public,
        safety_mode=campaign.policies.safety_mode,
    )


def _seconds_behind(totals: TotalsChanged, now: float) -> float:
    return max(totals.lag_seconds, now - parse_rfc3339(totals.as_of), 0.0)


def _condition(totals: TotalsChanged, behind: float) -> Condition:
    if totals.state == "frozen":
        return "final"
    return "behind" if totals.state == "catching_up" or behind > BEHIND_SECONDS else "live"


def _parts(counts: Mapping[str, int], order: Sequence[str]) -> tuple[Part, ...]:
    """Return the parts above zero, in the fixed `order` of the contract or the largest first; `other` last."""
    whole = sum(counts.values())
    rank = {key: index for index, key in enumerate(order)}
    keys = [key for key, count in counts.items() if count > 0]
    keys.sort(key=lambda key: (key == OTHER, rank.get(key, len(rank)), 0 if order else -counts[key], key))
    return tuple(Part(key, counts[key], whole) for key in keys)


def _countries(totals: TotalsChanged, language: str) -> tuple[Part, ...]:
    country_name = formats_for(language).country
    whole = totals.public_total
    parts = [Part(key, count, whole) for key, count in totals.by_country.items() if key != OTHER and count > 0]
    return tuple(sorted(parts, key=lambda part: (-part.count, collation_key(country_name(part.key)))))


def evidence_parts(counts: Mapping[str, int], public: Sequence[str]) -> tuple[EvidencePart, ...]:
    """Return the four classes in their fixed order. Only those in the public total have a part of the bar."""
    whole = sum(counts.get(key, 0) for key in public)
    parts: list[EvidencePart] = []
    end = 0
    for key in EVIDENCE:
        count = counts.get(key, 0)
        bar_count = count if key in public else 0
        start = f"{end * 1000 // whole / 10 if whole > 0 else 0:g}"
        parts.append(EvidencePart(key, count, max(whole, count), key in public, start))
        end += bar_count
    return tuple(parts)
