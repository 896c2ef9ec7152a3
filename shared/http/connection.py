"""A connection within its limits: how much it may send, how long it may take, and how it ends.

Written against uvicorn 0.54, which is pinned.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.http import middleware
from shared.http.fast_routes import encode_headers
from shared.http.limits import ConnectionLimits
from shared.http.problem import Problem, unavailable

MAX_PIPELINED: Final = 100
"""Requests that may wait behind an unanswered one on a connection; more end the connection."""
CONNECTION_CLOSE: Final = b"connection: close\r\n"
LINGER_SECONDS: Final = 5.0
"""How long a connection is read after an answer that came before the end of the body, so that the answer arrives."""
STALL_SECONDS: Final = 60.0
"""A client that reads nothing of the pending bytes for so long is cut off; one that reads slowly is not."""

RAW_TRANSPORT: Final = "milleplumes.raw_transport"
"""The ASGI extension by which an endless answer reaches its connection: one write serves many, outside their tasks.

It is a function that returns the transport. From then on its caller is responsible for slow readers: while more is
written all the time, the pending bytes do not show how much a client has read.
"""

IDLE: Final = 0
HEADERS: Final = 1
BODY: Final = 2
FAST_BODY: Final = 3
DISCARDING: Final = 4
"""The reading state of a connection. In `BODY` the request has a cycle of uvicorn's, in `FAST_BODY` it has none; in the
last one, input is read and dropped.
"""


class ConnectionEndedError(Exception):
    """Stop the parser, since the connection is ending."""


class LimitedConnection(HttpToolsProtocol):
    """One connection: uvicorn's, with limits. `enforce_time_limits` must be called about once a second."""

    def __init__(self, config: Config, **rest: Any) -> None:
        super().__init__(config, **rest)
        self._limits: ConnectionLimits = config.app.state.connection_limits  # type: ignore[union-attr]
        self._raw_transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._read_state: int = IDLE
        self._state_since = self.loop.time()
        self._is_new = True
        self._head_bytes = 0
        self._chunk_bytes = self._unclaimed_bytes = 0
        self._unsent_bytes = 0
        self._last_read_at = self._state_since
        self._transport_lent = False

    # Reading

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._raw_transport = transport
        self.transport = cast("asyncio.Transport", GracefulTransport(self, transport))
        if len(self.connections) > self._limits.max_connections:
            self._reject(unavailable())

    def data_received(self, data: bytes) -> None:
        previous_state = self._read_state
        if previous_state == DISCARDING:
            return
        self._chunk_bytes = self._unclaimed_bytes = len(data)
        if previous_state != IDLE:
            self._unclaimed_bytes = 0
            self._head_bytes += self._chunk_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # no other protocol is supported; the request itself was handled
        except httptools.HttpParserError:
            if self._read_state != DISCARDING:
                self._reject(Problem(400, "not-http", detail="This is not a request in HTTP."))
            return
        state = self._read_state
        if state in (BODY, FAST_BODY) and previous_state != state:
            self._state_since = self.loop.time()
        elif self._head_bytes > self._limits.max_header_bytes and state in (HEADERS, BODY):
            self._reject(Problem(431))

    def enforce_time_limits(self, now: float) -> None:
        """End the connection if the client has taken too long; `now` is the event loop's time."""
        if self._is_stalled(now):
            self._raw_transport.abort()
        elif self._read_state == DISCARDING:
            if now - self._state_since > LINGER_SECONDS:
                self._raw_transport.close()
        elif self._read_state == IDLE:
            cycle: Any = self.cycle
            idle = cycle is None or cycle.response_complete
            limit = self._limits.header_timeout_seconds if self._is_new else self.timeout_keep_alive
            if idle and now - self._state_since > limit:
                self._raw_transport.close()
        elif self.flow.read_paused:
            self._state_since = now  # the server is slow, not the client
        else:
            limits = self._limits
            limit = limits.header_timeout_seconds if self._read_state == HEADERS else limits.body_timeout_seconds
            if now - self._state_since > limit:
                self._reject(Problem(408))

    def _is_stalled(self, now: float) -> bool:
        """Whether the client has read nothing for too long. Applies only while no pending bytes are added."""
        if not (self._raw_transport.is_closing() or (self.flow.write_paused and not self._transport_lent)):
            self._unsent_bytes = 0
            return False
        unsent = self._raw_transport.get_write_buffer_size()
        if unsent != self._unsent_bytes:
            self._unsent_bytes = unsent
            self._last_read_at = now
        return unsent > 0 and now - self._last_read_at > STALL_SECONDS

    def _lend_transport(self) -> asyncio.Transport:
        self._transport_lent = True
        return self._raw_transport

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._read_state = HEADERS
        self._state_since = self.loop.time()
        self._is_new = False
        # Bytes that arrived together with an older request do not count for this one.
        self._head_bytes, self._unclaimed_bytes = self._unclaimed_bytes, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._read_state != BODY:  # otherwise it is a trailer of a chunked body, which is ignored
            self.headers.append((name.lower(), value))

    def _start_ordinary(self) -> None:
        """Pass the request to uvicorn, as if its own callbacks had read it."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self._close_now()
            raise ConnectionEndedError
        self._head_bytes = 0
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.scope["extensions"] = {RAW_TRANSPORT: self._lend_transport}  # type: ignore[dict-item]
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._read_state == DISCARDING or self._raw_transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._read_state == IDLE:
            self._state_since = self.loop.time()

    def _parsed_header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    # How it ends

    def _reject(self, problem: Problem) -> None:
        """Answer the request being read with `problem` and end the connection.

        If that would overtake the answer to an older request, or answer twice, only end the connection.
        """
        cycle: Any = self.cycle
        if cycle is not None:
            cycle_started = self._read_state == BODY
            if cycle_started and not (cycle.response_started or self.pipeline):
                cycle.disconnected = True
                cycle.message_event.set()
            elif cycle_started or not cycle.response_complete:
                self._close_now()
                return
        response = problem.response()
        headers = [*self.server_state.default_headers, *response.raw_headers, *middleware.SECURITY_HEADERS]
        head = [STATUS_LINE[problem.status_code], encode_headers(headers), CONNECTION_CLOSE, b"\r\n"]
        self._raw_transport.write(b"".join([*head, bytes(response.body)]))
        self.linger()

    def _close_now(self) -> None:
        self._raw_transport.close()
        self._read_state = DISCARDING

    def close_gracefully(self) -> None:
        """Close once all written bytes are sent; do not cut off a client that is still sending."""
        if self._read_state == IDLE:
            self._raw_transport.close()
        else:
            self.linger()

    def linger(self) -> None:
        """Send all written bytes and half-close, then read and drop the client's input for a while."""
        if self._raw_transport.is_closing():
            return
        self._read_state = DISCARDING
        self._state_since = self.loop.time()
        self._raw_transport.write_eof()
        self.flow.resume_reading()

    @property
    def closing(self) -> bool:
        """Whether the connection answers no further request."""
        return self._read_state == DISCARDING or self._raw_transport.is_closing()


class GracefulTransport:
    """A connection's transport for its cycles: closing it does not cut off a client that is still sending."""

    def __init__(self, connection: LimitedConnection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info

    def close(self) -> None:
        self._connection.close_gracefully()

    def is_closing(self) -> bool:
        return self._connection.closing
