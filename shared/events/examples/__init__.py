"""One example of each event version, as JSON: the record's topic, key, headers and value.

Documentation and tests use them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from shared.events import cloudevents


@dataclass(frozen=True, slots=True)
class Example:
    """One record. `document` is the file's content."""

    event: str
    version: str
    document: dict[str, Any]

    @property
    def topic(self) -> str:
        return str(self.document["topic"])

    @property
    def headers(self) -> cloudevents.Headers:
        return [(name, value.encode()) for name, value in self.document["headers"].items()]

    @property
    def value(self) -> bytes:
        """The record's value in bytes."""
        return msgspec.json.encode(self.document["value"])


def load_examples() -> list[Example]:
    """Return every example, by event and version. Files are named `<event>-<version>.json`."""
    return [_load_example(path) for path in sorted(Path(__file__).parent.glob("*.json"))]


def _load_example(path: Path) -> Example:
    event, _, version = path.stem.rpartition("-")
    return Example(event, version, json.loads(path.read_text()))
