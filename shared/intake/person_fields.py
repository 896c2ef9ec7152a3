"""The fields of a person that every action has, under the names of the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from shared.countries import COUNTRIES
from shared.intake import fields
from shared.intake.languages import LANGUAGES
from shared.intake.requests import Check

Slug = Annotated[str, Meta(min_length=1, max_length=100)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Email = Annotated[str, Meta(min_length=1, max_length=fields.MAX_EMAIL_LENGTH, extra_json_schema={"format": "email"})]
Postcode = Annotated[str, Meta(max_length=20)]
Comment = Annotated[str, Meta(max_length=1_000)]
Source = Annotated[str, Meta(max_length=200)]


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """What the person agreed to. Without `privacy` nothing is kept."""

    privacy: Annotated[bool, Meta(extra_json_schema={"const": True})]
    updates: bool = False
    public_name: bool = False


class PersonFields(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts. `country` and `locale` may be left out; then a trusted proxy and the campaign say them."""

    given_name: Name | None = None
    family_name: Name | None = None
    email: Email
    country: str | None = None
    postcode: Postcode | None = None
    locale: str | None = None
    consent: Consent
    comment: Comment = ""
    source: Source = ""


class NamedPersonFields(PersonFields, frozen=True, kw_only=True):
    """Who acts, by their name."""

    given_name: Name
    family_name: Name


_PLAIN_EMAIL_LENGTH: Final = 64
"""An address of fewer characters has no part that is too long."""
_PLAIN_NAME: Final = r"[^\W\d_]++(?:[ '-][^\W\d_]++)*+"
_PLAIN_EMAIL: Final = r"[A-Za-z0-9]++(?:[._+-][A-Za-z0-9]++)*+@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,}"
_is_plain: Final = re.compile(rf"{_PLAIN_NAME}\n{_PLAIN_NAME}\n{_PLAIN_EMAIL}").fullmatch


def is_plain(request: NamedPersonFields) -> bool:
    """Whether all fields have their most common form. True only where no check would find anything: a fast path."""
    return (
        request.consent.privacy
        and request.country in COUNTRIES
        and request.locale in LANGUAGES
        and request.postcode is None
        and not request.comment
        and request.source.isprintable()
        and len(request.email) < _PLAIN_EMAIL_LENGTH
        and _is_plain(f"{request.given_name}\n{request.family_name}\n{request.email}") is not None
    )


PERSON_CHECKS: Final[Mapping[str, Check]] = {
    "given_name": fields.name,
    "family_name": fields.name,
    "email": fields.email,
    "country": fields.country,
    "postcode": fields.postcode,
    "locale": fields.locale,
    "consent.privacy": fields.required_consent,
    "comment": fields.lines,
    "source": fields.line,
}
