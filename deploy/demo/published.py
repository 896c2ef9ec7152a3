"""The published signatures of a real petition, by country. See data/README.md for source and licence."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("data") / "petition-241584-2019-03-24.json"
ISO_CODES: Final = {"BAT": "AQ"}
"""British Antarctic Territory is the publisher's own code; ISO 3166-1 has Antarctica."""


def by_country() -> dict[str, int]:
    """Read the signatures by ISO 3166-1 alpha-2 code (or `XK`)."""
    counts: Counter[str] = Counter()
    for country in json.loads(FILE.read_bytes())["data"]["attributes"]["signatures_by_country"]:
        counts[ISO_CODES.get(country["code"], country["code"])] += country["signature_count"]
    return dict(counts)


def expected(scale: int) -> dict[str, int]:
    """Return the expected signatures by country if one in `scale` is replayed, with at least one of each country."""
    return {code: max(1, count // scale) for code, count in by_country().items()}
