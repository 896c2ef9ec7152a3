"""The values in campaign files: what each kind of text must look like."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from shared.clock import parse_rfc3339
from shared.countries import COUNTRIES, UNKNOWN
from shared.intake import fields

SLUG: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
LINK: Final = re.compile(r"https?://[^\s/]+(?:/\S*)?")
MAX_SLUG_LENGTH: Final = 80
RESERVED_SLUGS: Final = frozenset({"other"})


def _slug(value: str) -> str:
    if not SLUG.fullmatch(value) or len(value) > MAX_SLUG_LENGTH:
        raise ValueError(f"must be a slug: lower-case letters, digits and hyphens, at most {MAX_SLUG_LENGTH}")
    if value in RESERVED_SLUGS:
        raise ValueError("is a word of its own in the totals: choose another")
    return value


def _country(value: str) -> str:
    if value not in COUNTRIES or value == UNKNOWN:
        raise ValueError("must be a country: two capital letters of ISO 3166-1, or XK")
    return value


def _language(value: str) -> str:
    if not LANGUAGE.fullmatch(value):
        raise ValueError("must be a language code such as en or pt-BR")
    return value


def _time(value: str) -> str:
    try:
        parse_rfc3339(value)
    except ValueError:
        raise ValueError("must be a time with an offset, such as 2026-11-20T00:00:00Z") from None
    return value


def _date(value: str) -> str:
    try:
        parsed = date.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != value:
        raise ValueError("must be a date, such as 2028-12-31")
    return value


def _email(value: str) -> str:
    if fields.email(value) is not None:
        raise ValueError("must be an e-mail address")
    return value


def _link(value: str) -> str:
    if not LINK.fullmatch(value):
        raise ValueError("must be an address that begins with https://")
    return value


def _one_line(value: str) -> str:
    if "\n" in value or "\t" in value:
        raise ValueError("must be one line: put each line of an address in a text of its own")
    return _text(value)


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if any(ord(character) < ord(" ") and character not in "\n\t" for character in value):
        raise ValueError("must not hold control characters")
    return value.strip()


Slug = Annotated[str, AfterValidator(_slug)]
Country = Annotated[str, AfterValidator(_country)]
Language = Annotated[str, AfterValidator(_language)]
Time = Annotated[str, AfterValidator(_time)]
Date = Annotated[str, AfterValidator(_date)]
Line = Annotated[str, Field(max_length=300), AfterValidator(_text)]
AddressLine = Annotated[str, Field(max_length=80), AfterValidator(_one_line)]
Text = Annotated[str, Field(max_length=20_000), AfterValidator(_text)]
LocalizedLine = Annotated[dict[Language, Line], Field(min_length=1)]
LocalizedText = Annotated[dict[Language, Text], Field(min_length=1)]
Email = Annotated[str, AfterValidator(_email)]
LocalizedLink = Annotated[
    dict[Language, Annotated[str, Field(max_length=500), AfterValidator(_link)]], Field(min_length=1)
]
Goal = Annotated[int, Field(ge=1, le=10_000_000_000)]
