"""Fast routes: POST requests that are answered inside the protocol, without a scope, task or cycle per request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from shared.http import cors, middleware
from shared.http.client import Client
from shared.http.cors import Header
from shared.http.problem import unavailable

JSON_TYPES = frozenset(
    (
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json;charset=utf-8",
        b"application/json; charset=UTF-8",
        b"application/json;charset=UTF-8",
    )
)
"""The spellings of `Content-Type` that a fast route accepts; the ordinary route judges every other."""


class FastResponder(Protocol):
    """The responder of an accepted request: exactly one method is called, once, immediately or later."""

    def send_accepted(self, body: bytes) -> None:
        """Answer 202 with this JSON."""
        ...

    def send_unavailable(self) -> None:
        """Answer 503: nothing is known to be stored."""
        ...


FastHandler = Callable[[bytes, Mapping[bytes, bytes], Client, FastResponder], bool]
"""Handles one request, or leaves it to the ordinary route.

The arguments are the whole body, the headers by lower-case name, the client and the responder. True means that the
responder was or will be called; False leaves the request unchanged to the ordinary route, which writes every other
answer.
"""


@dataclass(frozen=True, slots=True)
class FastRoute:
    """Route POSTs of JSON to exactly `path`, without a query, of at most `max_body_bytes`, to `handler`."""

    path: str
    max_body_bytes: int
    handler: FastHandler


class ResponseHeads:
    """The status line and headers of fast answers, as the ordinary route sends them, without the blank line."""

    def __init__(self) -> None:
        self._common: list[Header] | None = None
        self._accepted = b""
        self._unavailable = b""
        self._problem = unavailable().response()

    def accepted(self, common: list[Header], length: int) -> bytes:
        """Return the head of a 202 with `length` bytes of JSON; the server renews its `common` headers each second."""
        if common is not self._common:
            self._rebuild(common)
        return self._accepted % length

    def unavailable(self, common: list[Header]) -> tuple[bytes, bytes]:
        """Return the head and body of a 503."""
        if common is not self._common:
            self._rebuild(common)
        return self._unavailable, bytes(self._problem.body)

    def _rebuild(self, common: list[Header]) -> None:
        self._common = common
        security = [*middleware.SECURITY_HEADERS, cors.ALLOW_ORIGIN, cors.EXPOSE_HEADERS]
        accepted = [*common, (b"content-length", b"%d"), (b"content-type", b"application/json"), *security]
        self._accepted = b"HTTP/1.1 202 Accepted\r\n" + encode_headers(accepted)
        unavailable = [*common, *self._problem.raw_headers, *security]
        self._unavailable = b"HTTP/1.1 503 Service Unavailable\r\n" + encode_headers(unavailable)


def encode_headers(headers: Iterable[Header]) -> bytes:
    """Return `headers` in the format of HTTP/1.1."""
    return b"".join(b"%s: %s\r\n" % header for header in headers)
