"""Checks of a person's fields. Each returns None, or an error code for what is wrong with the value."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from shared.countries import COUNTRIES
from shared.intake.languages import LANGUAGES, language_of
from shared.privacy.addresses import canonical_domain

MAX_EMAIL_LENGTH: Final = 254
"""RFC 5321, 4.5.3.1.3: a path has at most 256 octets, its angle brackets included."""
MAX_LOCAL_PART_LENGTH: Final = 64

CheckResult = str | None

_FORMULA_CHARACTERS: Final = "=+-@"
"""Characters with which a spreadsheet lets a formula begin."""
_BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FORMAT_CHARACTERS: Final = frozenset("\u200c\u200d\u200e\u200f\u00ad")
"""Invisible, but part of how names are written in Persian, Hindi, Hebrew and others."""
_LINK: Final = re.compile(
    r"://|\bwww\.|[\w-]\.[a-z]{2,}/|[\w-]\.(?:com|net|org|info|biz|ru|cn|xyz|top|io|link|click|site|online|shop|app|dev|club|live|page)\b",
    re.IGNORECASE,
)
_LINK_CHARACTERS: Final = frozenset("./:@")

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_is_dot_atom: Final = re.compile(rf"{_ATOM}+(?:\.{_ATOM}+)*").fullmatch
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[A-Za-z0-9-]*[A-Za-z]){_LABEL}")
_MAX_DOMAIN_LENGTH: Final = 253


def slug(text: str) -> CheckResult:
    """A slug; whether it exists is checked later."""
    return None if text.isprintable() else "control-character"


def name(text: str) -> CheckResult:
    """A given or family name: one line, no link, nothing that a spreadsheet would run."""
    if not text.isprintable() and not _is_written_text(text):
        return "control-character"
    stripped = text.strip()
    if not stripped:
        return "empty"
    if stripped[0] in _FORMULA_CHARACTERS:
        return "formula"
    if _LINK_CHARACTERS.isdisjoint(stripped):
        return None
    if "@" in stripped or _LINK.search(stripped):
        return "link"
    return None


def line(text: str) -> CheckResult:
    """One line of any text."""
    return None if text.isprintable() or _is_written_text(text) else "control-character"


def lines(text: str) -> CheckResult:
    """Several lines of any text."""
    if text.isprintable():
        return None
    return line(text.replace("\r", " ").replace("\n", " ").replace("\t", " "))


def postcode(text: str | None) -> CheckResult:
    """A postcode, or none."""
    return None if text is None else line(text)


def _is_written_text(text: str) -> bool:
    """Whether `text`, which Python calls unprintable, holds only characters that written text may have."""
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS:
            return False
        is_emoji_tag = "\U000e0020" <= character <= "\U000e007f"
        if category == "Cf" and character not in _FORMAT_CHARACTERS and not is_emoji_tag:
            return False
    return True


def email(address: str) -> CheckResult:
    """An address of RFC 5321 and 6531 with a domain name: no quoted local part, no address literal, no comment."""
    local, _, domain = address.rpartition("@")
    if not local or len(address) > MAX_EMAIL_LENGTH or len(local) > MAX_LOCAL_PART_LENGTH:
        return "invalid"
    if not (_is_dot_atom(local) if local.isascii() else _is_international(local)):
        return "invalid"
    return None if is_domain(domain) else "invalid"


def _is_international(local: str) -> bool:
    """Whether `local` is a local part of RFC 6531: any character above ASCII may stand in an atom."""
    if len(local.encode()) > MAX_LOCAL_PART_LENGTH or not local.isprintable():
        return False
    return _is_dot_atom("".join(character if character.isascii() else "x" for character in local)) is not None


@lru_cache(maxsize=16_384)
def is_domain(domain: str) -> bool:
    """Whether `domain` is a domain name of two labels or more, in ASCII or in letters of any script (IDNA 2008)."""
    try:
        a_labels = canonical_domain(domain)
    except (ValueError, UnicodeError):
        return False
    if len(a_labels) > _MAX_DOMAIN_LENGTH or domain.endswith("."):
        return False
    return _DOMAIN.fullmatch(a_labels) is not None


def country(code: str | None) -> CheckResult:
    """A country of ISO 3166-1 alpha-2, `XK` or `ZZ`, or none."""
    return None if code is None or code in COUNTRIES else "unknown"


def locale(text: str | None) -> CheckResult:
    """A locale whose language is known, or none."""
    return None if text is None or language_of(text) is not None else "unknown"


def language(code: str) -> CheckResult:
    """A language."""
    return None if code in LANGUAGES else "unknown"


def required_consent(value: bool) -> CheckResult:  # noqa: FBT001  a check takes the value alone
    """A consent without which nothing is stored."""
    return None if value else "required"
