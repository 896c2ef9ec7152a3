"""The totals documents as they are served: encoded once for all clients, with their current age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from services.marathon.domain.freshness import state_at
from shared.catalog import Catalog
from shared.clock import Clock, parse_rfc3339
from shared.events.marathon import TotalsChanged

LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body."""


@dataclass(frozen=True, slots=True)
class TotalsDocument:
    """One encoded state of a campaign's totals.

    `tag` identifies it; `body` is its JSON, `event` the server-sent event, `chunk` the event as an HTTP chunk.
    """

    tag: str
    totals: TotalsChanged
    body: bytes
    event: bytes
    chunk: bytes


class TotalsDocuments:
    """The current document of every campaign in `catalog`."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._current: dict[str, TotalsDocument] = {}

    def current(self, campaign: str) -> TotalsDocument | None:
        """Return the current document of `campaign`; the same object as long as nothing changes.

        Its state is `catching_up` once it is more than five seconds old.
        """
        totals = self._catalog.totals.get(campaign)
        if totals is None:
            return None
        tag, lag = str(totals.version), 0.0
        if totals.state != "frozen":
            state, lag = state_at(self._clock.now(), parse_rfc3339(totals.as_of))
            if state == "catching_up":
                tag = f"{totals.version}-{int(lag)}"
        document = self._current.get(campaign)
        if document is None or document.tag != tag:
            if tag != str(totals.version):
                totals = msgspec.structs.replace(totals, state="catching_up", lag_seconds=float(int(lag)))
            document = self._current[campaign] = _encode(tag, totals)
        return document


def as_chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of HTTP's chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _encode(tag: str, totals: TotalsChanged) -> TotalsDocument:
    body = msgspec.json.encode(totals)
    event = b"id: %b\ndata: %b\n\n" % (tag.encode(), body)
    return TotalsDocument(tag, totals, body, event, as_chunk(event))
