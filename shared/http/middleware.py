"""The outermost layer of every application: limits, headers, cross-origin rules, metrics, and errors without leaks."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import metrics
from shared.http import cors
from shared.http.cors import Header
from shared.http.limits import body_limit
from shared.http.problem import Problem, problem_response
from shared.logging import log

SECURITY_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers added where a route has not set its own."""

UNROUTED: Final = "(none)"


class AppMiddleware:
    """ASGI middleware around one application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            scope, send = _as_get(scope), _without_body(send)
        exchange = _Exchange(scope, receive, send, method)
        if exchange.is_preflight():
            await exchange.respond_to_preflight()
            return
        try:
            if exchange.is_too_large():
                raise too_large()
            await self._app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await exchange.respond(problem)
        except ClientDisconnect:
            pass  # no client is left to answer
        except Exception:
            log.exception("request failed", route=exchange.route(), method=method)
            if exchange.response_started:
                raise  # the server cuts the connection, so that a partial answer does not pass for a whole one
            await exchange.respond(Problem(500, detail="An error on our side. Nothing is known to be stored."))
        finally:
            exchange.record_metrics()


def _as_get(scope: Scope) -> Scope:
    """Return the GET whose headers a HEAD request asks for (RFC 9110, section 9.3.2).

    It is a copy, because the server uses the original. It has no extension by which an answer could bypass this layer.
    """
    return {**scope, "method": "GET", "extensions": {}}


def _without_body(send: Send) -> Send:
    """Return a `send` that ends the answer after its headers, so that an endless answer sees its client gone, too."""

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return send_headers


class _Exchange:
    """One request and its answer. `method` is the method that the client used."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, method: str) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._method = method
        self._path: str = scope["path"]
        self._limit = body_limit(self._path)
        self._received = 0
        self._started_at = time.perf_counter()
        self._status = 0
        self.response_started = False

    def route(self) -> str:
        """Return the template of the route, never the address itself: addresses hold tokens and receipts."""
        path = getattr(self._scope.get("route"), "path", None)
        return path if isinstance(path, str) else UNROUTED

    def is_too_large(self) -> bool:
        length = self._header(b"content-length")
        return length is not None and (not length.isdigit() or _exceeds(length, self._limit))

    def is_preflight(self) -> bool:
        return (
            self._method == "OPTIONS"
            and self._header(b"access-control-request-method") is not None
            and cors.is_public(self._path)
        )

    async def respond_to_preflight(self) -> None:
        headers = [*cors.PREFLIGHT, *SECURITY_HEADERS]
        await self._send({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def respond(self, problem: Problem) -> None:
        await problem_response(Request(self._scope), problem)(self._scope, self._receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.response_started = True
            self._status = message["status"]
            message["headers"] = self._add_headers(message.get("headers", []))
        await self._send(message)

    def record_metrics(self) -> None:
        seconds = time.perf_counter() - self._started_at
        metrics.HTTP_REQUESTS.observe(self.route(), self._method, self._status, seconds)

    def _header(self, name: bytes) -> bytes | None:
        headers: list[Any] = self._scope["headers"]
        return next((value for key, value in headers if key == name), None)

    def _add_headers(self, headers: Any) -> list[Header]:
        present = {name.lower() for name, _ in headers}
        result = [*headers, *(header for header in SECURITY_HEADERS if header[0] not in present)]
        if cors.is_public(self._path):
            result += [cors.ALLOW_ORIGIN, cors.EXPOSE_HEADERS]
        return result


def _exceeds(digits: bytes, limit: int) -> bool:
    """Whether a number is larger than `limit`. Python refuses to parse thousands of digits, even zeros."""
    digits = digits.lstrip(b"0")
    return len(digits) > len(str(limit)) or int(digits or b"0") > limit


def too_large() -> Problem:
    """Return a 413 that ends the connection, since the rest of the body is not read."""
    return Problem(413, detail="The body is too large.", headers={"Connection": "close"})
