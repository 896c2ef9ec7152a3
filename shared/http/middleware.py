"""The outermost layer of every application: bounds, headers, cross-origin rules, metrics, and no error that leaks."""

from __future__ import annotations

import time
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import metrics
from shared.http import cors
from shared.http.limits import body_limit
from shared.http.problem import Problem
from shared.logging import log

Header = tuple[bytes, bytes]

SECURITY: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Added where a route has not set its own."""

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
            await exchange.answer_preflight()
            return
        try:
            if exchange.is_too_large():
                raise too_large()
            await self._app(scope, exchange.receive, exchange.send)
        except Problem as problem:
            await exchange.answer(problem)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception:
            log.exception("request failed", route=exchange.route(), method=method)
            if exchange.started:
                raise  # the server cuts the connection, so that no half answer passes for a whole one
            await exchange.answer(Problem(500, detail="An error on our side. Nothing is known to be stored."))
        finally:
            exchange.observe()


def _as_get(scope: Scope) -> Scope:
    """A HEAD request as the GET that it asks the headers of (RFC 9110, section 9.3.2).

    It is a copy: the server goes by its own. No extension by which an answer could get past us is left.
    """
    return {**scope, "method": "GET", "extensions": {}}


def _without_body(send: Send) -> Send:
    """A `send` that ends the answer with its headers: an endless one, too, sees its client gone then."""

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b""})

    return send_headers


class _Exchange:
    """One request and its answer. `method` is the one that was asked by."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, method: str) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._method = method
        self._path: str = scope["path"]
        self._limit = body_limit(self._path)
        self._received = 0
        self._began = time.perf_counter()
        self._status = 0
        self.started = False

    def route(self) -> str:
        """The template of the route, never the address itself: addresses hold tokens and receipts."""
        path = getattr(self._scope.get("route"), "path", None)
        return path if isinstance(path, str) else UNROUTED

    def is_too_large(self) -> bool:
        length = self._header(b"content-length")
        return length is not None and (not length.isdigit() or _is_over(length, self._limit))

    def is_preflight(self) -> bool:
        return (
            self._method == "OPTIONS"
            and self._header(b"access-control-request-method") is not None
            and cors.is_public(self._path)
        )

    async def answer_preflight(self) -> None:
        headers = [*cors.PREFLIGHT, *SECURITY]
        await self._send({"type": "http.response.start", "status": 204, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def answer(self, problem: Problem) -> None:
        await problem.response()(self._scope, self._receive, self.send)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._status = message["status"]
            message["headers"] = self._with_headers(message.get("headers", []))
        await self._send(message)

    def observe(self) -> None:
        route = self.route()
        metrics.HTTP_ANSWERED.labels(route=route, method=self._method, status=str(self._status)).inc()
        metrics.HTTP_SECONDS.labels(route=route).observe(time.perf_counter() - self._began)

    def _header(self, wanted: bytes) -> bytes | None:
        headers: list[Any] = self._scope["headers"]
        return next((value for name, value in headers if name == wanted), None)

    def _with_headers(self, headers: Any) -> list[Header]:
        present = {name.lower() for name, _ in headers}
        result = [*headers, *(header for header in SECURITY if header[0] not in present)]
        if cors.is_public(self._path):
            result += [cors.ALLOW_ORIGIN, cors.EXPOSE]
        return result


def _is_over(digits: bytes, limit: int) -> bool:
    """Whether a number is larger than `limit`. Python refuses to read one of thousands of digits, be they zeros."""
    digits = digits.lstrip(b"0")
    return len(digits) > len(str(limit)) or int(digits or b"0") > limit


def too_large() -> Problem:
    """A 413. The connection ends: the rest of the body is not read."""
    return Problem(413, detail="The body is too large.", headers={"Connection": "close"})
