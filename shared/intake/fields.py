"""What each field of a person may hold. Each check gives None, or a word for what is wrong with the value."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from shared.intake.countries import COUNTRIES
from shared.intake.languages import LANGUAGES, language_of
from shared.privacy.addresses import canonical_domain

NAME_LENGTH: Final = 100
EMAIL_LENGTH: Final = 254
"""RFC 5321, 4.5.3.1.3: a path has at most 256 octets, its angle brackets included."""
LOCAL_PART_LENGTH: Final = 64
POSTCODE_LENGTH: Final = 20
COMMENT_LENGTH: Final = 1_000
SOURCE_LENGTH: Final = 200
SLUG_LENGTH: Final = 100

Word = str | None

_FORMULA_SIGNS: Final = "=+-@"
"""What a spreadsheet takes for the beginning of a formula."""
_BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS: Final = frozenset("\u200c\u200d\u200e\u200f\u00ad")
"""Invisible, but part of how names are written in Persian, Hindi, Hebrew and others."""
_LINK: Final = re.compile(
    r"://|\bwww\.|[\w-]\.[a-z]{2,}/|[\w-]\.(?:com|net|org|info|biz|ru|cn|xyz|top|io|link|click|site|online|shop|app|dev|club|live|page)\b",
    re.IGNORECASE,
)
_LINK_SIGNS: Final = frozenset("./:@")

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_is_atoms: Final = re.compile(rf"{_ATOM}+(?:\.{_ATOM}+)*").fullmatch
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[A-Za-z0-9-]*[A-Za-z]){_LABEL}")
_DOMAIN_LENGTH: Final = 253


def slug(text: str) -> Word:
    """The slug of something; whether there is such a thing is asked later."""
    return None if text.isprintable() else "control-character"


def name(text: str) -> Word:
    """A given or family name: one line, no link, nothing that a spreadsheet would run."""
    if not text.isprintable() and not _is_writing(text):
        return "control-character"
    bare = text.strip()
    if not bare:
        return "empty"
    if bare[0] in _FORMULA_SIGNS:
        return "formula"
    if _LINK_SIGNS.isdisjoint(bare):
        return None
    if "@" in bare or _LINK.search(bare):
        return "link"
    return None


def line(text: str) -> Word:
    """One line of any text."""
    return None if text.isprintable() or _is_writing(text) else "control-character"


def lines(text: str) -> Word:
    """Several lines of any text."""
    if text.isprintable():
        return None
    return line(text.replace("\r", " ").replace("\n", " ").replace("\t", " "))


def postcode(text: str | None) -> Word:
    """A postcode, or none."""
    return None if text is None else line(text)


def _is_writing(text: str) -> bool:
    """Whether `text`, which Python would not print as it is, is made of writing all the same."""
    for sign in text:
        category = unicodedata.category(sign)
        if category in ("Cc", "Cs", "Zl", "Zp") or sign in _BIDI_CONTROLS:
            return False
        if category == "Cf" and sign not in _JOINERS and not _is_emoji_tag(sign):
            return False
    return True


def _is_emoji_tag(sign: str) -> bool:
    return "\U000e0020" <= sign <= "\U000e007f"


def email(address: str) -> Word:
    """An address of RFC 5321 and 6531 with a domain name: no quoted local part, no address literal, no comment."""
    local, _, domain = address.rpartition("@")
    if not local or len(address) > EMAIL_LENGTH or len(local) > LOCAL_PART_LENGTH:
        return "invalid"
    if not (_is_atoms(local) if local.isascii() else _is_international(local)):
        return "invalid"
    return None if is_domain(domain) else "invalid"


def _is_international(local: str) -> bool:
    """Whether `local` is a local part of RFC 6531: any character above ASCII may stand in an atom."""
    if len(local.encode()) > LOCAL_PART_LENGTH or not local.isprintable():
        return False
    return _is_atoms("".join(sign if sign.isascii() else "x" for sign in local)) is not None


@lru_cache(maxsize=16_384)
def is_domain(domain: str) -> bool:
    """Whether `domain` is a domain name of two labels or more, in ASCII or in letters of any script (IDNA 2008)."""
    try:
        ascii_form = canonical_domain(domain)
    except (ValueError, UnicodeError):
        return False
    if len(ascii_form) > _DOMAIN_LENGTH or domain.endswith("."):
        return False
    return _DOMAIN.fullmatch(ascii_form) is not None


def country(code: str | None) -> Word:
    """A country of ISO 3166-1 alpha-2, `XK` or `ZZ`, or none."""
    return None if code is None or code in COUNTRIES else "unknown"


def locale(text: str | None) -> Word:
    """A locale whose language is known, or none."""
    return None if text is None or language_of(text) is not None else "unknown"


def language(code: str) -> Word:
    """A language."""
    return None if code in LANGUAGES else "unknown"


def agreed(given: bool) -> Word:  # noqa: FBT001  a check takes the value alone
    """A consent without which nothing is kept."""
    return None if given else "required"
