"""A letter to print: one person's text on a sheet with the address, the rules, and a foot to cut off."""

from __future__ import annotations

from dataclasses import dataclass

from babel.core import UnknownLocaleError

from shared.web.formats import Formats, formats_for
from shared.web.languages import direction
from shared.web.qr import Qr, qr
from shared.web.views.cases import CaseView, case_view
from shared.web.views.catalog_view import CatalogView
from shared.web.views.forms import FormState


@dataclass(frozen=True, slots=True)
class SheetView:
    """A printed sheet. `paragraphs` is empty for one to be written by hand.

    `sender` is a list of lines; `language` and `direction` are those of the letter; `destination` is the country in the
    format of post offices, `day` the day of printing. At `report_url` people report with `code` that they posted the
    letter; `qr` contains both.
    """

    case: CaseView
    sender: tuple[str, ...]
    paragraphs: tuple[str, ...]
    language: str
    direction: str
    day: str
    destination: str
    code: str
    report_url: str
    qr: Qr


def sheet_view(
    catalog: CatalogView, slug: str, form: FormState, *, code: str, report_url: str, now: float, language: str
) -> SheetView:
    """Return the sheet for the case `slug`, which has an address, with the typed values of `form`, neither checked nor
    stored. `code` identifies this sheet; at `report_url` people report that they posted it.

    Raises:
        KeyError: no such case exists.
    """
    case = case_view(catalog, slug, now=now, language=language, form=form)
    name = " ".join(f"{form.value('given_name')} {form.value('family_name')}".split())
    letter_language = _offered_language(form.value("language"), language) or (case.letter_languages or (language,))[0]
    return SheetView(
        case=case,
        sender=tuple(line for line in (name, *map(str.strip, form.value("sender").splitlines())) if line),
        paragraphs=_paragraphs(form.value("text")),
        language=letter_language,
        direction=direction(letter_language),
        day=_formats(letter_language, language).date(now),
        destination=_destination(case.address.country, language) if case.address else "",
        code=code,
        report_url=report_url.partition("://")[2],
        qr=qr(f"{report_url}?code={code}"),
    )


def _offered_language(typed: str, language: str) -> str:
    """Return the typed language of the letter, if the form offers it, else an empty string.

    Formats are cached by language: other typed values must not fill the memory.
    """
    return typed if any(typed == code for code, _ in formats_for(language).written_languages()) else ""


def _paragraphs(text: str) -> tuple[str, ...]:
    """Return the parts between blank lines, with their single line ends."""
    parts = "\n".join(map(str.rstrip, text.strip().splitlines())).split("\n\n")
    return tuple(part.strip("\n") for part in parts if part.strip())


def _formats(code: str, fallback: str) -> Formats:
    try:
        return formats_for(code)
    except (UnknownLocaleError, ValueError):
        return formats_for(fallback)


def _destination(code: str, language: str) -> str:
    """Return the country in capitals, in the language of the country of posting, and always in Latin letters, too.

    Source: Universal Postal Union, Addressing the world, https://www.upu.int (last line of an international address).
    """
    name = formats_for(language).country(code).upper()
    is_latin = all(character < "\u0370" for character in name)
    return name if is_latin else f"{name} · {formats_for('en').country(code).upper()}"
