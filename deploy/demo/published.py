"""The published signatures of a real petition, by country. See data/README.md for source and licence."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_name("data") / "petition-241584-2019-03-24.json"
ISO_CODES: Final = {"BAT": "AQ"}
"""British Antarctic Territory is the publisher's own code; ISO 3166-1 has Antarctica."""


class _Country(msgspec.Struct):
    code: str
    signature_count: int


class _Attributes(msgspec.Struct):
    signatures_by_country: list[_Country]


class _Data(msgspec.Struct):
    attributes: _Attributes


class _Document(msgspec.Struct):
    data: _Data


def by_country(file: Path = FILE) -> dict[str, int]:
    """Read the signatures by ISO 3166-1 alpha-2 code (or `XK`) from `file`.

    Raises:
        msgspec.MsgspecError: `file` is no such document.
    """
    document = msgspec.json.decode(file.read_bytes(), type=_Document)
    counts: dict[str, int] = {}
    for country in document.data.attributes.signatures_by_country:
        code = ISO_CODES.get(country.code, country.code)
        counts[code] = counts.get(code, 0) + country.signature_count
    return counts


def expected(scale: int, file: Path = FILE) -> dict[str, int]:
    """Return the expected signatures by country if one in `scale` is replayed, with at least one of each country."""
    return {code: max(1, count // scale) for code, count in by_country(file).items()}
