"""The languages and locales that an action may name: those for which the CLDR, as Babel carries it, has a name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from babel import Locale

_LOCALE: Final = re.compile(r"([a-z]{2,3})(?:[-_][A-Z][a-z]{3})?(?:[-_](?:[A-Z]{2}|[0-9]{3}))?")

_NO_LANGUAGES: Final = frozenset(("mis", "mul", "und", "zxx"))
"""Codes of ISO 639 for texts in several languages, in none, or in one unknown."""

_CODE: Final = re.compile(r"[a-z]{2,3}")

LANGUAGES: Final = frozenset(filter(_CODE.fullmatch, map(str, Locale("en").languages))) - _NO_LANGUAGES
"""ISO 639 codes that have a name."""


LOCALE_LENGTH: Final = 12
"""`zh_Hans_CN` and its like with three letters: nothing longer is a locale here."""


def language_of(locale: str) -> str | None:
    """The language of a locale such as `fr`, `pt-BR` or `zh_Hans_CN`; None where no such language is known."""
    return _language_of(locale) if len(locale) <= LOCALE_LENGTH else None


@lru_cache(maxsize=2048)
def _language_of(locale: str) -> str | None:
    found = _LOCALE.fullmatch(locale)
    if found is None or found.group(1) not in LANGUAGES:
        return None
    return found.group(1)
