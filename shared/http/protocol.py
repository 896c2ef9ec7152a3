"""uvicorn's httptools protocol with hot routes answered inside it, and with bounds on every connection.

Written against uvicorn 0.54, which is pinned. With another server, or the plain `uvicorn` command, the same
application answers the same through its ordinary routes, slower and without these bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from shared.http import middleware
from shared.http.client import Client, Clients
from shared.http.fast_response import FastResponse, GentleTransport
from shared.http.fast_routes import JSON_TYPES, FastRoute, ResponseHeads, lines
from shared.http.limits import ConnectionLimits
from shared.http.problem import Problem, unavailable
from shared.logging import log

PIPELINED: Final = 100
"""Requests that may wait behind an unanswered one on a connection; more are a flood."""
CLOSE: Final = b"connection: close\r\n"
LINGER_SECONDS: Final = 5.0
"""How long a connection that was answered before its body ended is read from, so that the answer is not lost."""
LENGTH_DIGITS: Final = 10
"""A Content-Length written with more is for the ordinary route to read."""
STUCK_SECONDS: Final = 60.0
"""A client that for so long takes nothing of what waits to be sent is cut off. Whoever reads on, however slowly, is
not.
"""

RAW_TRANSPORT: Final = "milleplumes.raw_transport"
"""The ASGI extension by which an endless answer gets at its connection: one write for many is made past its task.

A function that gives the transport. Who calls it sees to slow readers from then on: how much they have taken cannot be
told from what waits, where more is written all the time.
"""

NOTHING: Final = 0
HEADERS: Final = 1
BODY: Final = 2
LEFTOVERS: Final = 3
"""What is being read from a connection; leftovers are dropped."""


class FastProtocol(HttpToolsProtocol):
    """One connection. `check` must be called about once a second for its time limits to hold."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        state = config.app.state  # type: ignore[union-attr]
        self._routes: Mapping[bytes, FastRoute] = state.hot_routes
        self._limits: ConnectionLimits = state.connection_limits
        self._clients: Clients = state.clients
        self._heads: ResponseHeads = state.hot_heads
        self._raw: asyncio.Transport = cast("asyncio.Transport", None)
        self._me = Client("", None)
        self._reading: int = NOTHING
        self._since = self.loop.time()
        self._fresh = True
        self._head_bytes = 0
        self._chunk_bytes = self._unclaimed_bytes = 0
        self._unsent = 0
        self._taken_at = self._since
        self._lent = False
        self._hot: FastRoute | None = None
        self._hot_headers: Mapping[bytes, bytes] = {}
        self._hot_body: bytes | bytearray = b""
        self._answer = FastResponse(self)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._raw = transport
        self.transport = cast("asyncio.Transport", GentleTransport(self, transport))
        self._me = Client(self.client[0] if self.client else "", None)
        if len(self.connections) > self._limits.connections:
            self._refuse(unavailable())

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer.disconnected = True
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has sent all it wants still gets the answers to its requests, less one that has begun: nobody
        may be left to read that, and it may be endless.
        """
        # A request whose body is cut off has a cycle, but no answer; a hot one before it has.
        last: Any = self._answer if self._reading == BODY else self.cycle
        if self._reading == LEFTOVERS or last is None or last.response_started or last.response_complete:
            return False
        last.keep_alive = False
        self._reading = NOTHING
        return True

    def data_received(self, data: bytes) -> None:
        before = self._reading
        if before == LEFTOVERS:
            return
        self._chunk_bytes = self._unclaimed_bytes = len(data)
        if before != NOTHING:
            self._unclaimed_bytes = 0
            self._head_bytes += self._chunk_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # nothing here speaks another protocol; the request itself was handled
        except httptools.HttpParserError:
            if self._reading != LEFTOVERS:
                self._refuse(Problem(400, "not-http", detail="This is not a request in HTTP."))
            return
        if self._reading == BODY and before != BODY:
            self._since = self.loop.time()
        elif self._head_bytes > self._limits.header_bytes and self._reading in (HEADERS, BODY) and self._hot is None:
            self._refuse(Problem(431))

    def check(self, now: float) -> None:
        """End the connection if the client has taken too long; `now` is the event loop's time."""
        if self._is_stuck(now):
            self._raw.abort()
        elif self._reading == LEFTOVERS:
            if now - self._since > LINGER_SECONDS:
                self._raw.close()
        elif self._reading == NOTHING:
            cycle: Any = self.cycle
            idle = cycle is None or cycle.response_complete
            limit = self._limits.header_seconds if self._fresh else self.timeout_keep_alive
            if idle and now - self._since > limit:
                self._raw.close()
        elif self.flow.read_paused:
            self._since = now  # it is we who are slow
        else:
            limit = self._limits.header_seconds if self._reading == HEADERS else self._limits.body_seconds
            if now - self._since > limit:
                self._refuse(Problem(408))

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has long taken nothing. Looks only while nothing is added to what waits to be sent."""
        if not (self._raw.is_closing() or (self.flow.write_paused and not self._lent)):
            self._unsent = 0
            return False
        unsent = self._raw.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent = unsent
            self._taken_at = now
        return unsent > 0 and now - self._taken_at > STUCK_SECONDS

    def _lend(self) -> asyncio.Transport:
        self._lent = True
        return self._raw

    # One request

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._reading = HEADERS
        self._since = self.loop.time()
        self._fresh = False
        # What came in one piece with an older request is not held against this one.
        self._head_bytes, self._unclaimed_bytes = self._unclaimed_bytes, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading != BODY:  # there it is a trailer of a chunked body: nobody reads those
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        limit = self._limits.header_bytes
        if self._head_bytes + self._chunk_bytes > limit and self._header_bytes() > limit:
            self._refuse(Problem(431))
            raise _EndedError
        route = self._routes.get(self.url)
        if route is not None and self._is_hot(route):
            self._hot = route
            self._hot_body = b""
        else:
            self._begin_ordinary()
        self._reading = BODY

    def on_body(self, body: bytes) -> None:
        if self._hot is None:
            self._head_bytes = 0  # what comes without a body after this is of trailers: the parser gathers them
            super().on_body(body)
        elif not self._hot_body:
            self._hot_body = body
        else:
            if isinstance(self._hot_body, bytes):
                self._hot_body = bytearray(self._hot_body)
            self._hot_body += body

    def on_message_complete(self) -> None:
        self._reading = NOTHING
        route = self._hot
        if route is None:
            super().on_message_complete()
            return
        self._hot = None
        body = bytes(self._hot_body)
        client = self._clients.of(self._me.address, self.headers) if self._clients.trusts_anyone else self._me
        before, answer = self.cycle, self._answer
        answer.begin(keep_alive=self.parser.should_keep_alive())
        self.cycle = cast("Any", answer)
        if not self._taken(route, body, client):
            answer.leave()
            self.cycle = before
            self._begin_ordinary()
            super().on_body(body)
            super().on_message_complete()

    def _taken(self, route: FastRoute, body: bytes, client: Client) -> bool:
        try:
            return route.take(body, self._hot_headers, client, self._answer)
        except Exception:  # noqa: BLE001  the ordinary route is asked next, and says what is wrong
            log.exception("hot route failed", route=route.path)
            return False

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._reading == LEFTOVERS or self._raw.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._reading == NOTHING:
            self._since = self.loop.time()

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def _is_hot(self, route: FastRoute) -> bool:
        """Whether the request whose headers are read may be answered here; the rest is for the ordinary route."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            return False
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or self.flow.write_paused:
            return False
        headers = self._hot_headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        return (
            len(headers) == len(self.headers)
            and length.isdigit()
            and len(length) <= LENGTH_DIGITS
            and int(length) <= route.max_body
            and headers.get(b"content-type") in JSON_TYPES
            and b"expect" not in headers
            and b"transfer-encoding" not in headers
            and b"content-encoding" not in headers
            and b"upgrade" not in headers
        )

    def _begin_ordinary(self) -> None:
        """Hand the request to uvicorn, as if its own callbacks had read it."""
        if len(self.pipeline) >= PIPELINED:
            self._end()
            raise _EndedError
        self._head_bytes = 0
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.scope["extensions"] = {RAW_TRANSPORT: self._lend}  # type: ignore[dict-item]
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        super().on_headers_complete()

    # How a connection ends

    def _refuse(self, problem: Problem) -> None:
        """Answer the request being read with `problem` and end the connection.

        Where that would overtake the answer to an older request, or answer twice, the connection only ends.
        """
        cycle: Any = self.cycle
        if cycle is not None:
            begun = self._reading == BODY and self._hot is None
            if begun and not (cycle.response_started or self.pipeline):
                cycle.disconnected = True
                cycle.message_event.set()
            elif begun or not cycle.response_complete:
                self._end()
                return
        response = problem.response()
        headers = [*self.server_state.default_headers, *response.raw_headers, *middleware.SECURITY]
        head = [STATUS_LINE[problem.status_code], lines(headers), CLOSE, b"\r\n"]
        self._raw.write(b"".join([*head, bytes(response.body)]))
        self.linger()

    def _end(self) -> None:
        self._raw.close()
        self._reading = LEFTOVERS

    def close_gently(self) -> None:
        """Close once what is written has gone; if the client is still sending, without cutting it off."""
        if self._reading == NOTHING:
            self._raw.close()
        else:
            self.linger()

    def linger(self) -> None:
        """Send what is written and say that it was the last, then read and drop what the client sends, for a while."""
        if self._raw.is_closing():
            return
        self._reading = LEFTOVERS
        self._since = self.loop.time()
        self._raw.write_eof()
        self.flow.resume_reading()

    @property
    def ending(self) -> bool:
        """Whether nothing more is answered on this connection."""
        return self._reading == LEFTOVERS or self._raw.is_closing()

    # Hot answers

    def answer_accepted(self, body: bytes, *, keep_alive: bool) -> None:
        """Write a 202 with `body` and go on with the connection."""
        head = self._heads.accepted(self.server_state.default_headers, len(body))
        if keep_alive:
            self._raw.write(b"%s\r\n%s" % (head, body))
            self.on_response_complete()
        else:
            self._answer_last(head, body)

    def answer_unavailable(self, *, keep_alive: bool) -> None:
        """Write a 503 and go on with the connection."""
        head, body = self._heads.unavailable(self.server_state.default_headers)
        if keep_alive:
            self._raw.write(b"%s\r\n%s" % (head, body))
            self.on_response_complete()
        else:
            self._answer_last(head, body)

    def _answer_last(self, head: bytes, body: bytes) -> None:
        self._raw.write(b"%s%s\r\n%s" % (head, CLOSE, body))
        self.close_gently()
        self.on_response_complete()


class _EndedError(Exception):
    """Stops the parser: the connection is ending."""
