"""Views after an act: the thank-you page, and the pages of links in a mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.events.values import Kind
from shared.web.views.campaigns import CaseCard, case_cards
from shared.web.views.cases import CaseView, case_view
from shared.web.views.catalog_view import CatalogView


@dataclass(frozen=True, slots=True)
class ThanksView:
    """The thank-you page. It is the same for a repeated act, and holds no name, because the receipt has none."""

    case: CaseView
    kind: Kind
    posted: bool
    receipt: str
    status_address: str
    counted: bool
    as_of: str | None
    journey: tuple[CaseCard, ...]
    next: CaseCard | None


@dataclass(frozen=True, slots=True)
class ActLine:
    """One act that a link in a mail refers to."""

    kind: Kind
    case: CaseView


@dataclass(frozen=True, slots=True)
class TokenView:
    """The pages to confirm or to withdraw: the acts of the token, and the address to which the button posts."""

    acts: tuple[ActLine, ...]
    action: str
    journey: tuple[CaseCard, ...]
    next: CaseCard | None

    @property
    def kinds(self) -> Literal["signatures", "messages", "acts"]:
        """The common kind of the acts."""
        if all(line.kind == "signature" for line in self.acts):
            return "signatures"
        return "acts" if any(line.kind == "signature" for line in self.acts) else "messages"


def thanks_view(
    catalog: CatalogView,
    slug: str,
    *,
    kind: Kind,
    receipt: str,
    status_address: str,
    counted: bool,
    as_of: str | None,
    now: float,
    language: str,
    posted: bool = False,
) -> ThanksView:
    """Return the thank-you page for one act on the case `slug`, at `now` (seconds since 1970).

    `receipt` is the short one, which the mail repeats; empty if it is unknown. `status_address` serves the status as
    JSON. `counted` is whether the act is counted, and `as_of` the time of that status. `posted` is whether the person
    posted a letter or postcard themself.

    Raises:
        KeyError: no such case exists.
    """
    journey = _journey(catalog, slug, language)
    return ThanksView(
        case=case_view(catalog, slug, now=now, language=language),
        kind=kind,
        posted=posted,
        receipt=receipt,
        status_address=status_address,
        counted=counted,
        as_of=as_of,
        journey=journey,
        next=_next(journey, {slug}),
    )


def token_view(
    catalog: CatalogView, acts: Sequence[tuple[str, Kind]], *, action: str, now: float, language: str
) -> TokenView:
    """Return the page of a link in a mail.

    `acts` are (case, kind) as the token lists them; unknown cases are left out. `action` is the address to which the
    button posts: the page's own.
    """
    lines = tuple(
        ActLine(kind, case_view(catalog, slug, now=now, language=language))
        for slug, kind in acts
        if slug in catalog.cases
    )
    journey = _journey(catalog, lines[0].case.slug, language) if lines else ()
    return TokenView(lines, action, journey, _next(journey, {line.case.slug for line in lines}))


def _journey(catalog: CatalogView, slug: str, language: str) -> tuple[CaseCard, ...]:
    return case_cards(catalog, catalog.campaigns[catalog.cases[slug].campaign], language)


def _next(journey: Sequence[CaseCard], done: set[str]) -> CaseCard | None:
    """Return the case with the fewest acts among those not done."""
    return min((card for card in journey if card.slug not in done), key=lambda card: card.count.count, default=None)
