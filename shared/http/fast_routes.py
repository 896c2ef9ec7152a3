"""Hot routes: posts that are answered inside the protocol, with no scope, task or cycle per request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from shared.http import cors, middleware
from shared.http.client import Client
from shared.http.problem import unavailable

Header = tuple[bytes, bytes]

JSON_TYPES = frozenset(
    (
        b"application/json",
        b"application/json; charset=utf-8",
        b"application/json;charset=utf-8",
        b"application/json; charset=UTF-8",
        b"application/json;charset=UTF-8",
    )
)
"""The spellings of `Content-Type` that a hot route takes; every other is for the ordinary route to judge."""


class FastAnswer(Protocol):
    """How a taken request is answered: exactly one of the two, once, then or later."""

    def accepted(self, body: bytes) -> None:
        """Answer 202 with this JSON."""
        ...

    def unavailable(self) -> None:
        """Answer 503: nothing is known to be stored."""
        ...


class FastHandler(Protocol):
    """Takes one request, or leaves it.

    Called with the whole body, the headers by lower-case name, and who sent it. True means that `answer` was or will
    be called; False leaves the request unchanged to the ordinary route, which writes every other answer.
    """

    def __call__(self, body: bytes, headers: Mapping[bytes, bytes], client: Client, answer: FastAnswer) -> bool: ...


@dataclass(frozen=True, slots=True)
class FastRoute:
    """POSTs of JSON to `path` (exactly, without a query) of at most `max_body` bytes go to `take`."""

    path: str
    max_body: int
    take: FastHandler


class ResponseHeads:
    """The status line and headers of hot answers, the same as the ordinary route would send, less the blank line."""

    def __init__(self) -> None:
        self._common: list[Header] | None = None
        self._accepted = b""
        self._unavailable = b""
        self._problem = unavailable().response()

    def accepted(self, common: list[Header], length: int) -> bytes:
        """Head of a 202 with `length` bytes of JSON; `common` are the server's own headers, a new list each second."""
        if common is not self._common:
            self._renew(common)
        return self._accepted % length

    def unavailable(self, common: list[Header]) -> tuple[bytes, bytes]:
        """Head and body of a 503."""
        if common is not self._common:
            self._renew(common)
        return self._unavailable, bytes(self._problem.body)

    def _renew(self, common: list[Header]) -> None:
        self._common = common
        after = [*middleware.SECURITY, cors.ALLOW_ORIGIN, cors.EXPOSE]
        accepted = [*common, (b"content-length", b"%d"), (b"content-type", b"application/json"), *after]
        self._accepted = b"HTTP/1.1 202 Accepted\r\n" + lines(accepted)
        refused = [*common, *self._problem.raw_headers, *after]
        self._unavailable = b"HTTP/1.1 503 Service Unavailable\r\n" + lines(refused)


def lines(headers: Iterable[Header]) -> bytes:
    """`headers` as they go on the wire."""
    return b"".join(b"%s: %s\r\n" % header for header in headers)
