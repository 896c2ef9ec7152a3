"""After an act: thanks, and the pages behind the links in a mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared.events.words import Kind
from shared.web.views.campaigns import CaseCard, case_cards
from shared.web.views.cases import CaseView, case_view
from shared.web.views.catalog_view import CatalogView


@dataclass(frozen=True, slots=True)
class ThanksView:
    """The thank-you page. It is the same for who had acted before, and holds no name: the receipt has none."""

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
    """One act that a link in a mail is about."""

    kind: Kind
    case: CaseView


@dataclass(frozen=True, slots=True)
class TokenView:
    """The pages to confirm or to withdraw: what the token lists, and where its one button posts to."""

    acts: tuple[ActLine, ...]
    action: str
    journey: tuple[CaseCard, ...]
    next: CaseCard | None

    @property
    def kinds(self) -> Literal["signatures", "messages", "acts"]:
        """What the acts are, together."""
        if all(line.kind == "signature" for line in self.acts):
            return "signatures"
        return "acts" if any(line.kind == "signature" for line in self.acts) else "messages"


def thanks_view(
    known: CatalogView,
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
    """Thanks for one act on the case `slug`, at `now` (seconds since 1970).

    `receipt` is the short one, which the mail repeats; empty where it is not known. `status_address` is where the
    status can be asked as JSON. `counted` is whether the act is counted by now, and `as_of` when that was known.
    `posted` says that the person posted a letter or postcard themself.

    Raises:
        KeyError: there is no such case.
    """
    journey = _journey(known, slug, language)
    return ThanksView(
        case=case_view(known, slug, now=now, language=language),
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
    known: CatalogView, acts: Sequence[tuple[str, Kind]], *, action: str, now: float, language: str
) -> TokenView:
    """The page of a link in a mail.

    `acts` are (case, kind) as the token lists them; cases no longer known are left out. `action` is the address the
    button posts to: the page's own.
    """
    lines = tuple(
        ActLine(kind, case_view(known, slug, now=now, language=language)) for slug, kind in acts if slug in known.cases
    )
    journey = _journey(known, lines[0].case.slug, language) if lines else ()
    return TokenView(lines, action, journey, _next(journey, {line.case.slug for line in lines}))


def _journey(known: CatalogView, slug: str, language: str) -> tuple[CaseCard, ...]:
    return case_cards(known, known.campaigns[known.cases[slug].campaign], language)


def _next(journey: Sequence[CaseCard], done: set[str]) -> CaseCard | None:
    """The case with the fewest acts among those still to do."""
    return min((card for card in journey if card.slug not in done), key=lambda card: card.count.count, default=None)
