"""What the wording of every mail needs: its language, names that strangers typed, dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from services.notifications.sender.compose.mime import clean
from shared.events.marathon import Texts
from shared.web.formats import formats_for
from shared.web.languages import SOURCE_LANGUAGE, offered_languages

TRANSLATIONS: Final = Path(__file__).parents[2] / "translations"
DAY_S: Final = 86_400
MAX_NAME_CHARACTERS: Final = 60

_SUSPICIOUS_NAME: Final = re.compile(r"[\d/:@<>\\]|www\.|\.\w{2}", re.IGNORECASE)
"""Text that mail programs turn into a link, or that may be an advertisement."""


def choose_language(locale: str, offered: Sequence[str]) -> str:
    """Choose the language of a mail to a person who acted in `locale`, where the campaign offers `offered`."""
    preferred = locale.replace("_", "-").partition("-")[0].lower()
    return next((code for code in (preferred, *offered) if code in offered_languages(TRANSLATIONS)), SOURCE_LANGUAGE)


def localize(texts: Texts, code: str) -> str:
    """Return the text in the language `code`, else in the source language, else in any."""
    return texts.get(code) or texts.get(SOURCE_LANGUAGE) or next(iter(texts.values()), "")


def display_name(name: str) -> str:
    """Return a typed name as a mail may show it, empty where it could pass for a link or is no name.

    Anyone can type any text with any address, and a mail must not carry a stranger's message.
    """
    name = clean(name)
    return "" if len(name) > MAX_NAME_CHARACTERS or _SUSPICIOUS_NAME.search(name) else name


def format_day(at: float, code: str) -> str:
    """Return the day of a time in seconds since 1970, in UTC: `1 December 2026`."""
    return _format_day(int(at // DAY_S), code)


@lru_cache(maxsize=2_000)
def _format_day(days: int, code: str) -> str:
    return formats_for(code).date(float(days * DAY_S))
