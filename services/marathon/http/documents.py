"""The totals documents as they are served: encoded once for all readers, and honest about their age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from services.marathon.domain.freshness import state_at
from shared.catalog import Catalog
from shared.clock import Clock, parse_rfc3339
from shared.events.marathon import TotalsChanged

_LAST_CHUNK: Final = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Document:
    """One state of a campaign's totals.

    `tag` names it; `event` is it as a server-sent event, `chunk` that as an HTTP chunk.
    """

    tag: str
    totals: TotalsChanged
    body: bytes
    event: bytes
    chunk: bytes


class Documents:
    """The current document of every campaign in `catalog`."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._current: dict[str, Document] = {}

    def current(self, campaign: str) -> Document | None:
        """The document of `campaign` as of now; the same object as long as nothing changes.

        A document that no newer one has followed for over five seconds says so: it is catching up.
        """
        totals = self._catalog.totals.get(campaign)
        if totals is None:
            return None
        tag, lag = str(totals.version), 0.0
        if totals.state != "frozen":
            state, lag = state_at(self._clock.now(), parse_rfc3339(totals.as_of))
            if state == "catching_up":
                tag = f"{totals.version}-{int(lag)}"
        known = self._current.get(campaign)
        if known is None or known.tag != tag:
            if tag != str(totals.version):
                totals = msgspec.structs.replace(totals, state="catching_up", lag_seconds=float(int(lag)))
            known = self._current[campaign] = _encoded(tag, totals)
        return known


def as_chunk(data: bytes) -> bytes:
    """`data` as one chunk of HTTP's chunked transfer coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk() -> bytes:
    """What ends a chunked body."""
    return _LAST_CHUNK


def _encoded(tag: str, totals: TotalsChanged) -> Document:
    body = msgspec.json.encode(totals)
    event = b"id: %b\ndata: %b\n\n" % (tag.encode(), body)
    return Document(tag, totals, body, event, as_chunk(event))
