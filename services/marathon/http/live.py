"""The live stream: server-sent events, a snapshot first, then at most one a second.

A stream costs one write of bytes that all streams share, made past its task: thousands of tasks would each have to wake
up to write the same. What a slow reader has not taken yet is left out for it, since every event holds the whole.
Source of the format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.marathon.http.documents import Document, Documents, as_chunk, last_chunk
from shared.http.problem import unavailable
from shared.http.protocol import RAW_TRANSPORT
from shared.metrics import STREAMS_CUT, STREAMS_OPEN

LOOK_EVERY_S: Final = 0.2
APART_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
"""A comment after so long without an event, so that neither reader nor gateway takes the stream for dead."""
BUFFER_BYTES: Final = 256 * 1024
"""A reader with more than this not taken is slow: it gets no event until it has taken some."""
SLOW_S: Final = 30.0
"""A reader that stays slow for so long is cut off; it comes back and begins with a snapshot."""
MOST_STREAMS: Final = 15_000
AT_ONCE: Final = 500
"""So many streams are written to before other work gets its turn."""
RETRY: Final = b"retry: 2000\n\n"
HEARTBEAT: Final = b": still here\n\n"
HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Sink(Protocol):
    """Where the events of one stream go."""

    def send(self, document: Document) -> bool:
        """Pass an event on; False where the reader is too slow to be given one."""
        ...

    def beat(self) -> None:
        """Show that the stream lives."""
        ...

    def cut(self) -> None:
        """End the stream at once."""
        ...

    def end(self) -> None:
        """End the stream in order."""
        ...


class TransportSink:
    """Writes chunks straight to the connection of an answer that is being sent in chunks.

    A connection may be gone before its task has noticed, and uvloop's raises when it is used then.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def send(self, document: Document) -> bool:
        if self._transport.is_closing() or self._transport.get_write_buffer_size() > BUFFER_BYTES:
            return False
        self._transport.write(document.chunk)
        return True

    def beat(self) -> None:
        if not self._transport.is_closing() and self._transport.get_write_buffer_size() == 0:
            self._transport.write(_HEARTBEAT_CHUNK)

    def cut(self) -> None:
        self._transport.abort()

    def end(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(last_chunk())
            self._transport.close()


class LatestSink:
    """Keeps the latest event for a task that sends it; for servers whose connections cannot be reached."""

    def __init__(self) -> None:
        self._latest: bytes | None = None
        self._news = asyncio.Event()
        self.ended = False

    def send(self, document: Document) -> bool:
        slow = self._latest is not None
        self._latest = document.event
        self._news.set()
        return not slow

    def beat(self) -> None:
        if self._latest is None:
            self._latest = HEARTBEAT
            self._news.set()

    def cut(self) -> None:
        self.end()

    def end(self) -> None:
        self.ended = True
        self._news.set()

    async def take(self) -> bytes:
        """The latest event, once there is one; empty at the end."""
        await self._news.wait()
        self._news.clear()
        latest, self._latest = self._latest, None
        return latest or b""


class Stream:
    """One open stream and what was last sent on it; times are the event loop's."""

    __slots__ = ("sent_at", "sink", "slow_since", "tag")

    def __init__(self, sink: Sink, tag: str, now: float) -> None:
        self.sink = sink
        self.tag = tag
        self.sent_at = now
        self.slow_since: float | None = None

    def offer(self, document: Document, now: float) -> None:
        """Send `document` if it is news and due; else show from time to time that the stream lives."""
        if self.tag == document.tag:
            if now - self.sent_at >= HEARTBEAT_S:
                self.sent_at = now
                self.sink.beat()
        elif now - self.sent_at >= APART_S:
            if self.sink.send(document):
                self.tag = document.tag
                self.sent_at = now
                self.slow_since = None
            elif self.slow_since is None:
                self.slow_since = now
            elif now - self.slow_since >= SLOW_S:
                STREAMS_CUT.inc()
                self.sink.cut()


class LiveBoard:
    """All open streams of this process, fed by `run`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._streams: dict[str, set[Stream]] = {}
        self._open = 0
        self._closed = False

    async def run(self, closing: asyncio.Event) -> None:
        """Feed the streams until `closing` is set, then end them, in order that the server can end; go on until
        cancelled.
        """
        while not closing.is_set():
            for campaign in list(self._streams):
                await self._feed(campaign)
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), LOOK_EVERY_S)
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.sink.end()
        await asyncio.Event().wait()

    def response(self, campaign: str, last_event_id: str | None) -> Response:
        """An answer that streams `campaign`; a reader that names the current event in `last_event_id` has the snapshot.

        Raises:
            Problem: 503, as many streams are open as one process takes, or it is about to end.
        """
        document = self._documents.current(campaign)
        if document is None or self._open >= MOST_STREAMS or self._closed:
            raise unavailable("No further stream can be opened here at the moment.")
        return _LiveResponse(self, campaign, document, known=last_event_id == document.tag)

    def add(self, campaign: str, stream: Stream) -> None:
        """Begin to feed `stream`."""
        self._streams.setdefault(campaign, set()).add(stream)
        self._open += 1
        STREAMS_OPEN.set(self._open)

    def remove(self, campaign: str, stream: Stream) -> None:
        """Feed `stream` no longer."""
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
        for place, stream in enumerate(tuple(self._streams.get(campaign, ()))):
            stream.offer(document, now)
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)


class _LiveResponse(Response):
    def __init__(self, board: LiveBoard, campaign: str, document: Document, *, known: bool) -> None:
        self._board = board
        self._campaign = campaign
        self._document = document
        self._first = RETRY if known else RETRY + document.event
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        lend = scope.get("extensions", {}).get(RAW_TRANSPORT)
        if lend is not None and scope["http_version"] == "1.1":
            await self._past_the_task(TransportSink(lend()), receive)
        else:
            await self._by_the_task(LatestSink(), receive, send)

    async def _past_the_task(self, sink: TransportSink, receive: Receive) -> None:
        stream = self._begin(sink)
        try:
            await _gone(receive)
        finally:
            self._board.remove(self._campaign, stream)

    async def _by_the_task(self, sink: LatestSink, receive: Receive, send: Send) -> None:
        async def end_when_gone() -> None:
            await _gone(receive)
            sink.end()

        stream = self._begin(sink)
        gone = asyncio.create_task(end_when_gone())
        try:
            while not sink.ended:
                event = await sink.take()
                await send({"type": "http.response.body", "body": event, "more_body": not sink.ended})
        finally:
            gone.cancel()
            self._board.remove(self._campaign, stream)

    def _begin(self, sink: Sink) -> Stream:
        stream = Stream(sink, self._document.tag, asyncio.get_running_loop().time())
        self._board.add(self._campaign, stream)
        return stream


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_HEARTBEAT_CHUNK: Final = as_chunk(HEARTBEAT)
