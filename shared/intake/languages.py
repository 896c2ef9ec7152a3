"""The languages and locales that an action may name: those that have a name in the CLDR, as Babel carries it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from babel import Locale

_LOCALE: Final = re.compile(r"([a-z]{2,3})(?:[-_][A-Z][a-z]{3})?(?:[-_](?:[A-Z]{2}|[0-9]{3}))?")

_SPECIAL_CODES: Final = frozenset(("mis", "mul", "und", "zxx"))
"""ISO 639 codes for several languages, no language, or an unknown one."""

_CODE: Final = re.compile(r"[a-z]{2,3}")

LANGUAGES: Final = frozenset(filter(_CODE.fullmatch, map(str, Locale("en").languages))) - _SPECIAL_CODES
"""ISO 639 codes that have a name."""


MAX_LOCALE_LENGTH: Final = 12
"""A locale such as `zh_Hans_CN`, with a language of two or three letters, is no longer than this, in characters."""


def language_of(locale: str) -> str | None:
    """Return the language of a locale such as `fr`, `pt-BR` or `zh_Hans_CN`; None where it is unknown."""
    return _language_of(locale) if len(locale) <= MAX_LOCALE_LENGTH else None


@lru_cache(maxsize=2048)
def _language_of(locale: str) -> str | None:
    match = _LOCALE.fullmatch(locale)
    if match is None or match.group(1) not in LANGUAGES:
        return None
    return match.group(1)
