"""The languages of pages, and the choice of one for a request: by its address or its browser, without a cookie."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from babel import Locale
from babel.core import UnknownLocaleError
from babel.messages.catalog import Catalog as Messages
from babel.messages.catalog import Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

SOURCE_LANGUAGE: Final = "en"
"""The language of the templates; it needs no catalogue."""
TRANSLATIONS_FOLDER: Final = Path(__file__).parent / "translations"
_LANGUAGE_RANGE: Final = re.compile(r"([a-z]{2,3})(?:-[a-z0-9-]*)?(?:;q=([01](?:\.[0-9]{0,3})?))?", re.IGNORECASE)
_MAX_HEADER_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Language:
    """The language of one page. `chosen` is whether the address names it, so that links keep it."""

    code: str
    chosen: bool = False

    @property
    def direction(self) -> str:
        return direction(self.code)

    @property
    def name(self) -> str:
        """The language's own name: `Français`."""
        name = Locale.parse(self.code).get_display_name(self.code) or self.code
        return name[:1].upper() + name[1:]


@functools.cache
def direction(code: str) -> str:
    """Return `rtl` or `ltr`; `ltr` for an unknown code."""
    try:
        return Locale.parse(code, sep="-").text_direction
    except (UnknownLocaleError, ValueError):
        return "ltr"


def load_messages(code: str, folder: Path = TRANSLATIONS_FOLDER) -> Messages:
    """Load the catalogue of a language from its `.po` file.

    Raises:
        FileNotFoundError: the language has no catalogue.
    """
    with (folder / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=code)


def is_complete(messages: Messages) -> bool:
    """Whether every message is translated."""
    return all(is_translated(messages, message) for message in messages if message.id)


def is_translated(messages: Messages, message: Message) -> bool:
    """Whether a message of the catalogue `messages` has all its forms and is not marked as fuzzy."""
    forms = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
    form_count = messages.num_plurals if message.pluralizable else 1
    return not message.fuzzy and all(forms) and len(forms) == form_count


@functools.cache
def offered_languages(folder: Path = TRANSLATIONS_FOLDER) -> tuple[str, ...]:
    """Return the languages of pages, or of the catalogues in `folder`: the source, then every complete one."""
    codes = sorted(path.parents[1].name for path in folder.glob("*/LC_MESSAGES/messages.po"))
    complete = (code for code in codes if code != SOURCE_LANGUAGE and is_complete(load_messages(code, folder)))
    return (SOURCE_LANGUAGE, *complete)


@functools.cache
def load_translations(code: str, folder: Path = TRANSLATIONS_FOLDER) -> NullTranslations:
    """Load the translations of a language in `folder`; without a catalogue, the source texts."""
    try:
        messages = load_messages(code, folder)
    except FileNotFoundError:
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return Translations(compiled)


def available_languages(languages: Sequence[str] = ()) -> tuple[str, ...]:
    """Return those of a campaign's `languages` that are offered, in the campaign's order.

    If the campaign names none, return all offered languages; if none of its languages is offered, the source.
    """
    if not languages:
        return offered_languages()
    return tuple(code for code in languages if code in offered_languages()) or (SOURCE_LANGUAGE,)


def negotiate_language(*, chosen: str | None, accept_language: str | None, languages: Sequence[str] = ()) -> Language:
    """Choose the language of a page.

    Args:
        chosen: the `lang` of the address or the `locale` of a form; has precedence if it is available.
        accept_language: the Accept-Language header (RFC 9110, 12.5.4); only its first 200 characters are read.
        languages: the campaign's languages, empty for a page of no campaign.
    """
    candidates = available_languages(languages)
    if chosen in candidates:
        return Language(str(chosen), chosen=True)
    for code in _parse_accept_language(accept_language or ""):
        if code in candidates:
            return Language(code)
    return Language(candidates[0])


def _parse_accept_language(header: str) -> list[str]:
    weighted: list[tuple[float, int, str]] = []
    for index, part in enumerate(header[:_MAX_HEADER_CHARACTERS].split(",")):
        match = _LANGUAGE_RANGE.fullmatch(part.replace(" ", ""))
        if match is not None and (weight := float(match[2] or 1)) > 0:
            weighted.append((-weight, index, match[1].lower()))
    return [code for _, _, code in sorted(weighted)]
