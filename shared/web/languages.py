"""The languages pages are offered in, and which one a request gets. No cookie: the address or the browser says it."""

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
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

SOURCE: Final = "en"
"""The language the templates are written in; it needs no catalogue."""
FOLDER: Final = Path(__file__).parent / "translations"
_RANGE: Final = re.compile(r"([a-z]{2,3})(?:-[a-z0-9-]*)?(?:;q=([01](?:\.[0-9]{0,3})?))?", re.IGNORECASE)
_HEADER_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Language:
    """The language of one page. `chosen` is whether the address asked for it, so that links keep it."""

    code: str
    chosen: bool = False

    @property
    def direction(self) -> str:
        return direction(self.code)

    @property
    def name(self) -> str:
        """The language's name in itself: `Français`."""
        name = Locale.parse(self.code).get_display_name(self.code) or self.code
        return name[:1].upper() + name[1:]


@functools.cache
def direction(code: str) -> str:
    """`rtl` or `ltr`; `ltr` for a code that is not known."""
    try:
        return Locale.parse(code, sep="-").text_direction
    except (UnknownLocaleError, ValueError):
        return "ltr"


def messages_of(code: str, folder: Path = FOLDER) -> Messages:
    """The catalogue of a language, read from its text form.

    Raises:
        FileNotFoundError: there is none.
    """
    with (folder / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=code)


def is_complete(messages: Messages) -> bool:
    """Whether every message has all its forms, and none is marked as doubtful."""
    wanted = messages.num_plurals
    for message in messages:
        if not message.id:
            continue
        forms = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
        if message.fuzzy or not all(forms) or len(forms) != (wanted if message.pluralizable else 1):
            return False
    return True


@functools.cache
def offered() -> tuple[str, ...]:
    """The languages pages exist in: the source, then every one whose catalogue is complete."""
    codes = sorted(path.parent.parent.name for path in FOLDER.glob("*/LC_MESSAGES/messages.po"))
    return (SOURCE, *(code for code in codes if code != SOURCE and is_complete(messages_of(code))))


@functools.cache
def translations(code: str, folder: Path = FOLDER) -> NullTranslations:
    """The translations of a language in `folder`; of one without a catalogue, the source's words."""
    try:
        messages = messages_of(code, folder)
    except FileNotFoundError:
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return Translations(compiled)


def available(languages: Sequence[str] = ()) -> tuple[str, ...]:
    """Those of a campaign's `languages` that pages are offered in, in the campaign's order; all offered ones where
    the campaign names none; the source where they have none in common.
    """
    if not languages:
        return offered()
    return tuple(code for code in languages if code in offered()) or (SOURCE,)


def negotiate(*, chosen: str | None, accepted: str | None, languages: Sequence[str] = ()) -> Language:
    """The language of a page.

    Args:
        chosen: the `lang` of the address or the `locale` of a form; wins where it is available.
        accepted: the Accept-Language header (RFC 9110, 12.5.4), as it came; only its first 200 characters are read.
        languages: the campaign's languages, or nothing for a page of no campaign.
    """
    among = available(languages)
    if chosen in among:
        return Language(str(chosen), chosen=True)
    for code in _preferred(accepted or ""):
        if code in among:
            return Language(code)
    return Language(among[0])


def _preferred(header: str) -> list[str]:
    weighed: list[tuple[float, int, str]] = []
    for place, part in enumerate(header[:_HEADER_CHARACTERS].split(",")):
        match = _RANGE.fullmatch(part.replace(" ", ""))
        if match is not None and (weight := float(match[2] or 1)) > 0:
            weighed.append((-weight, place, match[1].lower()))
    return [code for _, _, code in sorted(weighed)]
