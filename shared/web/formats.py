"""Numbers, times and names as a language writes them. Counts are rounded down, never ahead of the truth."""

from __future__ import annotations

import functools
import math
import unicodedata
from datetime import date, datetime
from typing import Final

from babel import Locale
from babel.dates import format_date, format_datetime, format_time
from babel.numbers import (
    format_compact_decimal,
    format_decimal,
    format_percent,
    get_group_symbol,
)

from shared.clock import parse_rfc3339, utc

MILLION: Final = 1_000_000
_WHOLE_FROM: Final = 10
_BY_THREE: Final = (3, 3)
_GROUPED_FROM: Final = 10_000
"""Some languages write four digits without a separator: the general rule writes those, and what is below zero."""
_PLURALS_TRIED: Final = 200
_CODE: Final = 2
_REGIONS: Final = {"en": "en_GB"}
"""Where a language needs a region for the day to come before the month."""
_NOT_COUNTRIES: Final = frozenset(["AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"])
"""Two-letter codes of CLDR that are not ISO 3166-1: reserved islands, unions, pseudo-locales, "unknown"."""


class Formats:
    """How one language writes things. Times are shown in UTC and say so in the templates."""

    def __init__(self, code: str) -> None:
        self._locale = Locale.parse(_REGIONS.get(code, code))
        self._territories: dict[str, str] = dict(self._locale.territories)
        thousands = self._locale.decimal_formats[None].grouping == _BY_THREE
        self._separator: str | None = get_group_symbol(self._locale) if thousands else None

    def number(self, value: float) -> str:
        """`5154004` as `5,154,004`."""
        if isinstance(value, int) and self._separator is not None and value >= _GROUPED_FROM:
            return f"{value:,}".replace(",", self._separator)
        return format_decimal(value, locale=self._locale)

    def round_number(self, value: int) -> str:
        """`6500000` as `6.5 million` where that is exact, else in full."""
        if value < MILLION or value % (MILLION // 10):
            return self.number(value)
        return format_compact_decimal(value, format_type="long", locale=self._locale, fraction_digits=1)

    def tenths(self, value: float) -> str:
        """Seconds to a tenth below ten, else whole; rounded up, so that a delay is never made smaller."""
        return self.number(math.ceil(value * 10) / 10 if value < _WHOLE_FROM else math.ceil(value))

    def share(self, part: int, whole: int) -> str:
        """`part` of `whole` in whole percent, rounded down; a share that is something but not one percent as `< 1%`."""
        percent = part * 100 // whole if whole > 0 else 0
        text = format_percent(max(percent, 1 if part > 0 else 0) / 100, locale=self._locale)
        return f"< {text}" if part > 0 and percent == 0 else text

    def time(self, value: str | float) -> str:
        """The time of day of an RFC 3339 time, or of seconds since 1970, to the second."""
        return format_time(_moment(value), "HH:mm:ss", locale=self._locale)

    def minute(self, value: str | float) -> str:
        """The time of day to the minute."""
        return format_time(_moment(value), "HH:mm", locale=self._locale)

    def date(self, value: str | float) -> str:
        """The day: `1 December 2026` or as the language has it."""
        return format_date(_moment(value).date(), "long", locale=self._locale)

    def moment(self, value: str | float) -> str:
        """Day and time of day, to the minute."""
        moment = _moment(value)
        day = format_date(moment.date(), "long", locale=self._locale)
        return f"{day}, {format_datetime(moment, 'HH:mm', locale=self._locale)}"

    def country(self, code: str) -> str:
        """A country's or territory's name; the code itself where there is none."""
        return self._territories.get(code, code)

    def countries(self) -> list[tuple[str, str]]:
        """Every country and territory as (code, name), in the order of the names."""
        return _countries(str(self._locale))

    def language(self, code: str) -> str:
        """A language's name, as it stands in a list."""
        try:
            name = str(self._locale.languages[code])
        except KeyError:
            return code
        return name[:1].upper() + name[1:]

    def written_languages(self) -> list[tuple[str, str]]:
        """Every language a text may be written in, as (ISO 639-1 code, name), in the order of the names."""
        return _written_languages(str(self._locale))

    def plural_examples(self) -> list[tuple[str, int]]:
        """For each plural category of the language (CLDR's words) a number that takes it."""
        found: dict[str, int] = {}
        for number in (*range(_PLURALS_TRIED), MILLION):
            found.setdefault(str(self._locale.plural_form(number)), number)
        return list(found.items())


@functools.cache
def formats(code: str) -> Formats:
    """The formats of a language, kept."""
    return Formats(code)


@functools.cache
def _countries(code: str) -> list[tuple[str, str]]:
    territories = Locale.parse(code).territories
    found = [
        (key, str(name))
        for key, name in territories.items()
        if len(key) == _CODE and key.isalpha() and key not in _NOT_COUNTRIES
    ]
    return sorted(found, key=lambda pair: alphabetical(pair[1]))


@functools.cache
def _written_languages(code: str) -> list[tuple[str, str]]:
    names = Locale.parse(code).languages
    found = [(key, name[:1].upper() + name[1:]) for key, name in names.items() if len(key) == _CODE]
    return sorted(found, key=lambda pair: alphabetical(pair[1]))


def alphabetical(name: str) -> str:
    """A key that sorts names as a reader of any European script expects: marks and case apart."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return bare.casefold()


def _moment(value: str | float) -> datetime:
    return utc(parse_rfc3339(value) if isinstance(value, str) else value)


def day_of(value: str | float) -> date:
    """The UTC day of a time."""
    return _moment(value).date()
