"""The protocol of the server: it answers fast routes itself, without a scope, task or cycle per request.

With another server, or the plain `uvicorn` command, the same application answers the same through its ordinary routes,
slower and without the limits of a connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final, cast

from uvicorn.config import Config

from shared.http.client import Client, ClientResolver
from shared.http.connection import (
    BODY,
    CONNECTION_CLOSE,
    DISCARDING,
    FAST_BODY,
    IDLE,
    ConnectionEndedError,
    LimitedConnection,
)
from shared.http.fast_routes import JSON_TYPES, FastRoute, ResponseHeads
from shared.http.problem import Problem
from shared.logging import log
from shared.metrics import HTTP_REQUESTS

MAX_LENGTH_DIGITS: Final = 10
"""The ordinary route reads a Content-Length with more digits."""
_NOT_AWAITED: Final = asyncio.Event()
"""The event of the body of fast requests: no task waits for it."""


class FastProtocol(LimitedConnection):
    """One connection, with fast routes."""

    def __init__(self, config: Config, **rest: Any) -> None:
        super().__init__(config, **rest)
        state = config.app.state  # type: ignore[union-attr]
        self._routes: Mapping[bytes, FastRoute] = state.fast_routes
        self._client_resolver: ClientResolver = state.client_resolver
        self._heads: ResponseHeads = state.response_heads
        self._peer = Client("", None)
        self._fast_route: FastRoute | None = None
        self._fast_headers: Mapping[bytes, bytes] = {}
        self._fast_body: bytes | bytearray = b""
        self._fast_response = FastResponse(self)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = Client(self.client[0] if self.client else "", None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fast_response.disconnected = True
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open for answers that are due, but not for one that has begun.

        The client of such an answer may be gone, and the answer may be endless.
        """
        # A request whose body is cut off has a cycle, but no answer; a fast request before it has one.
        last: Any = self._fast_response if self._read_state in (BODY, FAST_BODY) else self.cycle
        if self._read_state == DISCARDING or last is None or last.response_started or last.response_complete:
            return False
        last.keep_alive = False
        self._read_state = IDLE
        return True

    # One request

    def on_headers_complete(self) -> None:
        limit = self._limits.max_header_bytes
        if self._head_bytes + self._chunk_bytes > limit and self._parsed_header_bytes() > limit:
            self._reject(Problem(431))
            raise ConnectionEndedError
        route = self._routes.get(self.url)
        if route is not None and self._is_fast(route):
            self._fast_route = route
            self._fast_body = b""
            self._read_state = FAST_BODY
        else:
            self._start_ordinary()
            self._read_state = BODY

    def on_body(self, body: bytes) -> None:
        if self._fast_route is None:
            self._head_bytes = 0  # further bytes without a body belong to trailers, which the parser collects
            super().on_body(body)
        elif not self._fast_body:
            self._fast_body = body
        else:
            if isinstance(self._fast_body, bytes):
                self._fast_body = bytearray(self._fast_body)
            self._fast_body += body

    def on_message_complete(self) -> None:
        self._read_state = IDLE
        route = self._fast_route
        if route is None:
            super().on_message_complete()
            return
        self._fast_route = None
        body = bytes(self._fast_body)
        resolver = self._client_resolver
        client = resolver.resolve(self._peer.address, self.headers) if resolver.has_trusted_proxies else self._peer
        previous_cycle, response = self.cycle, self._fast_response
        response.start(route.path, keep_alive=self.parser.should_keep_alive())
        self.cycle = cast("Any", response)
        if not self._try_handler(route, body, client):
            response.hand_over()
            self.cycle = previous_cycle
            self._start_ordinary()
            super().on_body(body)
            super().on_message_complete()

    def _try_handler(self, route: FastRoute, body: bytes, client: Client) -> bool:
        try:
            return route.handler(body, self._fast_headers, client, self._fast_response)
        except Exception:  # noqa: BLE001  the ordinary route is next, and reports the error
            log.exception("fast route failed", route=route.path)
            return False

    def _is_fast(self, route: FastRoute) -> bool:
        """Whether the request with these headers may be answered here; the ordinary route answers the others."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            return False
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or self.flow.write_paused:
            return False
        headers = self._fast_headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        return (
            len(headers) == len(self.headers)
            and length.isdigit()
            and len(length) <= MAX_LENGTH_DIGITS
            and int(length) <= route.max_body_bytes
            and headers.get(b"content-type") in JSON_TYPES
            and b"expect" not in headers
            and b"transfer-encoding" not in headers
            and b"content-encoding" not in headers
            and b"upgrade" not in headers
        )

    # Fast answers

    def write_accepted(self, body: bytes, *, keep_alive: bool) -> None:
        """Write a 202 with `body` and continue with the connection."""
        head = self._heads.accepted(self.server_state.default_headers, len(body))
        self._write(head, body, keep_alive=keep_alive)

    def write_unavailable(self, *, keep_alive: bool) -> None:
        """Write a 503 and continue with the connection."""
        head, body = self._heads.unavailable(self.server_state.default_headers)
        self._write(head, body, keep_alive=keep_alive)

    def _write(self, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        if keep_alive:
            self._raw_transport.write(b"%s\r\n%s" % (head, body))
        else:
            self._raw_transport.write(b"%s%s\r\n%s" % (head, CONNECTION_CLOSE, body))
            self.close_gracefully()
        self.on_response_complete()


class FastResponse:
    """The connection's cycle while its fast request is unanswered: later requests queue, a shutdown waits."""

    __slots__ = (
        "_path",
        "_protocol",
        "_started_at",
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
        "response_started",
    )

    def __init__(self, protocol: FastProtocol) -> None:
        self._protocol = protocol
        self.response_complete = True
        self.response_started = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NOT_AWAITED

    def start(self, path: str, *, keep_alive: bool) -> None:
        """Begin to answer a request to `path`."""
        self._path = path
        self._started_at = time.perf_counter()
        self.response_complete = False
        self.keep_alive = keep_alive

    def hand_over(self) -> None:
        """Leave the answer to the ordinary route."""
        self.response_complete = True

    def send_accepted(self, body: bytes) -> None:
        """Answer 202 with this JSON."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_accepted(body, keep_alive=self.keep_alive)
        HTTP_REQUESTS.observe(self._path, "POST", 202, time.perf_counter() - self._started_at)

    def send_unavailable(self) -> None:
        """Answer 503."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_unavailable(keep_alive=self.keep_alive)
        HTTP_REQUESTS.observe(self._path, "POST", 503, time.perf_counter() - self._started_at)
