"""The live stream: server-sent events, a snapshot first, then at most one a second.

Each event is one write, bypassing the task of the stream, of bytes that all streams share: otherwise thousands of tasks
would each wake up to write the same. A slow client skips events, since every event contains the whole document.
Source of the format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.marathon.http.documents import LAST_CHUNK, TotalsDocument, TotalsDocuments, as_chunk
from shared.http.connection import RAW_TRANSPORT
from shared.http.problem import unavailable
from shared.metrics import STREAMS_CUT, STREAMS_OPEN

POLL_INTERVAL_S: Final = 0.2
MIN_EVENT_INTERVAL_S: Final = 1.0
HEARTBEAT_INTERVAL_S: Final = 15.0
"""A comment is sent after this time without an event, so that neither client nor gateway takes the stream for dead."""
MAX_UNREAD_BYTES: Final = 256 * 1024
"""A client with more unread bytes than this is slow: it gets no event until it has read some."""
MAX_SLOW_S: Final = 30.0
"""A client that stays slow for this time is disconnected; it reconnects and begins with a snapshot."""
MAX_STREAMS: Final = 15_000
STREAMS_PER_TURN: Final = 500
"""The number of streams written to before other tasks get their turn."""
RETRY: Final = b"retry: 2000\n\n"
HEARTBEAT: Final = as_chunk(b": still here\n\n")
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Stream:
    """One open stream, and the tag of the last event sent on it; times are the event loop's.

    It writes chunks directly to the connection of its response. A connection may be closed before its task has noticed,
    and uvloop's raises if it is used then.
    """

    __slots__ = ("_transport", "sent_at", "slow_since", "tag")

    def __init__(self, transport: asyncio.Transport, tag: str, now: float) -> None:
        self._transport = transport
        self.tag = tag
        self.sent_at = now
        self.slow_since: float | None = None

    def send_if_due(self, document: TotalsDocument, now: float) -> None:
        """Send `document` if it is new and due; otherwise send a heartbeat from time to time."""
        if self.tag == document.tag:
            if now - self.sent_at >= HEARTBEAT_INTERVAL_S:
                self.sent_at = now
                self._send(HEARTBEAT, max_unread=0)
        elif now - self.sent_at >= MIN_EVENT_INTERVAL_S:
            if self._send(document.chunk, max_unread=MAX_UNREAD_BYTES):
                self.tag = document.tag
                self.sent_at = now
                self.slow_since = None
            elif self.slow_since is None:
                self.slow_since = now
            elif now - self.slow_since >= MAX_SLOW_S:
                STREAMS_CUT.inc()
                self._transport.abort()

    def end(self) -> None:
        """End the response."""
        if self._send(LAST_CHUNK, max_unread=math.inf):
            self._transport.close()

    def _send(self, chunk: bytes, *, max_unread: float) -> bool:
        """Send `chunk`; return False if the connection is closed, or more bytes than `max_unread` wait on it."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size() > max_unread:
            return False
        self._transport.write(chunk)
        return True


class LiveBoard:
    """All open streams of this process, fed by `run`."""

    def __init__(self, documents: TotalsDocuments) -> None:
        self._documents = documents
        self._streams: dict[str, set[Stream]] = {}
        self._open = 0
        self._closed = False

    async def run(self, closing: asyncio.Event) -> None:
        """Feed the streams until `closing` is set, then end them so that the server can stop; run until cancelled."""
        while not closing.is_set():
            for campaign in list(self._streams):
                await self._feed(campaign)
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), POLL_INTERVAL_S)
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.end()
        await asyncio.Event().wait()

    def response(self, campaign: str, last_event_id: str | None) -> Response:
        """Return a response that streams `campaign`, without a snapshot if `last_event_id` names the current event.

        Raises:
            Problem: 503, the process has its maximum of open streams, or is about to stop.
        """
        document = self._documents.current(campaign)
        if document is None or self._open >= MAX_STREAMS or self._closed:
            raise unavailable("No further stream can be opened here at the moment.")
        return _LiveResponse(self, campaign, document, is_current=last_event_id == document.tag)

    def add(self, campaign: str, stream: Stream) -> None:
        """Start feeding `stream`."""
        self._streams.setdefault(campaign, set()).add(stream)
        self._open += 1
        STREAMS_OPEN.set(self._open)

    def remove(self, campaign: str, stream: Stream) -> None:
        """Stop feeding `stream`."""
        streams = self._streams[campaign]
        streams.discard(stream)
        if not streams:
            del self._streams[campaign]
        self._open -= 1
        STREAMS_OPEN.set(self._open)

    async def _feed(self, campaign: str) -> None:
        document = self._documents.current(campaign)
        if document is None:
            return
        now = asyncio.get_running_loop().time()
        for index, stream in enumerate(tuple(self._streams.get(campaign, ()))):
            stream.send_if_due(document, now)
            if index % STREAMS_PER_TURN == STREAMS_PER_TURN - 1:
                await asyncio.sleep(0)


class _LiveResponse(Response):
    def __init__(self, board: LiveBoard, campaign: str, document: TotalsDocument, *, is_current: bool) -> None:
        self._board = board
        self._campaign = campaign
        self._document = document
        self._first = RETRY if is_current else RETRY + document.event
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        take_transport = scope.get("extensions", {}).get(RAW_TRANSPORT) if scope["http_version"] == "1.1" else None
        # HTTP/1.0 has no chunks: its client gets the snapshot alone, and comes back for the next after `RETRY`.
        length = [(b"content-length", b"%d" % len(self._first))] if take_transport is None else []
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *length]})
        await send({"type": "http.response.body", "body": self._first, "more_body": take_transport is not None})
        if take_transport is None:
            return
        stream = Stream(take_transport(), self._document.tag, asyncio.get_running_loop().time())
        self._board.add(self._campaign, stream)
        try:
            await _wait_for_disconnect(receive)
        finally:
            self._board.remove(self._campaign, stream)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
