"""Campaign files for tests."""

from __future__ import annotations

from typing import Any

import yaml


def campaign_file(slug: str = "c", *, cases: tuple[str, ...] = ("ana", "bo"), **campaign: Any) -> str:
    """A campaign file in YAML; `campaign` sets further fields of the campaign. Petitions are called `free-<case>`."""
    return yaml.dump(
        {
            "campaign": {
                "slug": slug,
                "title": {"en": "Write"},
                "opens": "2026-11-01T00:00:00Z",
                "closes": "2027-01-01T00:00:00Z",
                "languages": ["en", "fr"],
                **campaign,
            },
            "cases": [
                {
                    "slug": case,
                    "name": case.title(),
                    "country": "FR",
                    "status": "detained",
                    "story": {"en": "A story."},
                    "petition": {
                        "slug": f"free-{case}",
                        "title": {"en": "Free them"},
                        "text": {"en": "We ask for their freedom."},
                    },
                }
                for case in cases
            ],
        },
        Dumper=yaml.CSafeDumper,
    )


class Wrapper:
    """Creates recognisable keys, numbered in order."""

    def __init__(self) -> None:
        self.created = 0

    def create(self) -> bytes:
        self.created += 1
        return b"wrapped-%d" % self.created
