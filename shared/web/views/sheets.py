"""A letter as it is printed: one person's words on a sheet with the address, the rules, and a foot to cut off."""

from __future__ import annotations

from dataclasses import dataclass

from babel.core import UnknownLocaleError

from shared.web.formats import Formats, formats
from shared.web.languages import direction
from shared.web.qr import Qr, qr
from shared.web.views.cases import CaseView, case_view
from shared.web.views.catalog_view import CatalogView
from shared.web.views.forms import FormState


@dataclass(frozen=True, slots=True)
class SheetView:
    """What stands on the sheet. `paragraphs` is empty for one that is to be written by hand.

    `sender` are lines; `language` and `direction` are the letter's; `destination` is the country as post offices want
    it, `day` the day of printing. At the address `report` people tell that the letter is posted, and type `code`; `qr`
    holds both.
    """

    case: CaseView
    sender: tuple[str, ...]
    paragraphs: tuple[str, ...]
    language: str
    direction: str
    day: str
    destination: str
    code: str
    report: str
    qr: Qr


def sheet_view(
    known: CatalogView, slug: str, form: FormState, *, code: str, report: str, now: float, language: str
) -> SheetView:
    """The sheet for the case `slug`, which has an address, filled in with what was typed into `form`; nothing of it
    is checked, and nothing kept. `code` names this sheet; at the address `report` people tell that it is posted.

    Raises:
        KeyError: there is no such case.
    """
    case = case_view(known, slug, now=now, language=language, form=form)
    name = " ".join(f"{form.value('given_name')} {form.value('family_name')}".split())
    written = _written(form.value("language"), language) or (case.letter_languages or (language,))[0]
    return SheetView(
        case=case,
        sender=tuple(line for line in (name, *map(str.strip, form.value("sender").splitlines())) if line),
        paragraphs=_paragraphs(form.value("text")),
        language=written,
        direction=direction(written),
        day=_formats(written, language).date(now),
        destination=_destination(case.address.country, language) if case.address else "",
        code=code,
        report=report.partition("://")[2],
        qr=qr(f"{report}?code={code}"),
    )


def _written(typed: str, language: str) -> str:
    """What was typed as the letter's language, where it is one that the form offers.

    Formats are kept by language: whatever else somebody types must not fill the memory.
    """
    return typed if any(typed == code for code, _ in formats(language).written_languages()) else ""


def _paragraphs(text: str) -> tuple[str, ...]:
    """What blank lines part, with its single line ends."""
    parts = "\n".join(map(str.rstrip, text.strip().splitlines())).split("\n\n")
    return tuple(part.strip("\n") for part in parts if part.strip())


def _formats(code: str, otherwise: str) -> Formats:
    try:
        return formats(code)
    except (UnknownLocaleError, ValueError):
        return formats(otherwise)


def _destination(code: str, language: str) -> str:
    """The country in capitals, in the language of the country of posting, and in Latin letters in any case.

    Source: Universal Postal Union, Addressing the world, https://www.upu.int (last line of an international address).
    """
    name = formats(language).country(code).upper()
    latin = all(sign < "\u0370" for sign in name)
    return name if latin else f"{name} · {formats('en').country(code).upper()}"
