"""Numbers, times and names in the format of a language. Counts are rounded down, never up."""

from __future__ import annotations

import functools
import math
import unicodedata
from datetime import datetime
from typing import Final

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_compact_decimal, format_decimal, format_percent, get_group_symbol

from shared.clock import parse_rfc3339, utc
from shared.countries import COUNTRIES, UNKNOWN

MILLION: Final = 1_000_000
_WHOLE_SECONDS_FROM: Final = 10
_GROUPS_OF_THREE: Final = (3, 3)
_MIN_GROUPED: Final = 10_000
"""Some languages write four digits without a separator: babel formats those, and negative numbers."""
_PLURAL_SAMPLE_SIZE: Final = 200
_CODE_LENGTH: Final = 2
_REGIONS: Final = {"en": "en_GB"}
"""Regions of languages that need one to write the day before the month."""


class Formats:
    """The formats of one language. Times are in UTC; the templates say so."""

    def __init__(self, code: str) -> None:
        self._locale = Locale.parse(_REGIONS.get(code, code))
        self._territories: dict[str, str] = dict(self._locale.territories)
        thousands = self._locale.decimal_formats[None].grouping == _GROUPS_OF_THREE
        self._separator: str | None = get_group_symbol(self._locale) if thousands else None

    def number(self, value: float) -> str:
        """Format `5154004` as `5,154,004`."""
        if isinstance(value, int) and self._separator is not None and value >= _MIN_GROUPED:
            return f"{value:,}".replace(",", self._separator)
        return format_decimal(value, locale=self._locale)

    def round_number(self, value: int) -> str:
        """Format `6500000` as `6.5 million` where that is exact, else in full."""
        if value < MILLION or value % (MILLION // 10):
            return self.number(value)
        return format_compact_decimal(value, format_type="long", locale=self._locale, fraction_digits=1)

    def tenths(self, value: float) -> str:
        """Format seconds to a tenth below ten, else whole; rounded up, so that a delay is never understated."""
        return self.number(math.ceil(value * 10) / 10 if value < _WHOLE_SECONDS_FROM else math.ceil(value))

    def share(self, part: int, whole: int) -> str:
        """Format `part` of `whole` in whole percent, rounded down; a positive share below one percent as `< 1%`."""
        percent = part * 100 // whole if whole > 0 else 0
        text = format_percent(max(percent, 1 if part > 0 else 0) / 100, locale=self._locale)
        return f"< {text}" if part > 0 and percent == 0 else text

    def time(self, value: str | float) -> str:
        """Format the time of day of an RFC 3339 time, or of seconds since 1970, to the second."""
        return format_time(_utc_datetime(value), "HH:mm:ss", locale=self._locale)

    def minute(self, value: str | float) -> str:
        """Format the time of day to the minute."""
        return format_time(_utc_datetime(value), "HH:mm", locale=self._locale)

    def date(self, value: str | float) -> str:
        """Format the day: `1 December 2026` in English."""
        return format_date(_utc_datetime(value).date(), "long", locale=self._locale)

    def moment(self, value: str | float) -> str:
        """Format the day and the time of day, to the minute."""
        return f"{self.date(value)}, {self.minute(value)}"

    def country(self, code: str) -> str:
        """Return a country's or territory's name, or the code itself if it has none."""
        return self._territories.get(code, code)

    def countries(self) -> list[tuple[str, str]]:
        """Return every country and territory as (code, name), sorted by name."""
        return _countries(str(self._locale))

    def language(self, code: str) -> str:
        """Return a language's name, capitalised for a list."""
        try:
            name = str(self._locale.languages[code])
        except KeyError:
            return code
        return name[:1].upper() + name[1:]

    def written_languages(self) -> list[tuple[str, str]]:
        """Return every language that a text may be written in, as (ISO 639-1 code, name), sorted by name."""
        return _written_languages(str(self._locale))

    def plural_examples(self) -> list[tuple[str, int]]:
        """Return (category, number) with an example number for each CLDR plural category of the language."""
        examples: dict[str, int] = {}
        for number in (*range(_PLURAL_SAMPLE_SIZE), MILLION):
            examples.setdefault(str(self._locale.plural_form(number)), number)
        return list(examples.items())


@functools.cache
def formats_for(code: str) -> Formats:
    """Return the formats of a language, from a cache."""
    return Formats(code)


@functools.cache
def _countries(code: str) -> list[tuple[str, str]]:
    territories = Locale.parse(code).territories
    countries = [(key, str(territories[key])) for key in COUNTRIES - {UNKNOWN} if key in territories]
    return sorted(countries, key=lambda pair: collation_key(pair[1]))


@functools.cache
def _written_languages(code: str) -> list[tuple[str, str]]:
    names = Locale.parse(code).languages
    languages = [(key, name[:1].upper() + name[1:]) for key, name in names.items() if len(key) == _CODE_LENGTH]
    return sorted(languages, key=lambda pair: collation_key(pair[1]))


def collation_key(name: str) -> str:
    """Return a sort key for names in European scripts, without diacritics and case."""
    base_letters = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return base_letters.casefold()


def _utc_datetime(value: str | float) -> datetime:
    return utc(parse_rfc3339(value) if isinstance(value, str) else value)
