"""Small HTTP requests to the services, for commands that wait until something has arrived."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

RESPONSE_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.1
ACCEPT_TIMEOUT_S: Final = 60.0


class Response(NamedTuple):
    """A service's response. `body` is None if it was no JSON."""

    status: int
    body: Any


def request(
    method: str, address: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Response | None:
    """Send one request to `address`; None if no response comes within five seconds."""
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=RESPONSE_TIMEOUT_S)
    try:
        connection.request(method, parts.path or "/", body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    try:
        return Response(response.status, json.loads(content))
    except ValueError:
        return Response(response.status, None)


def wait_for(accept: Callable[[Response], bool], send: Callable[[], Response | None]) -> bool:
    """Repeat `send` until `accept` holds for its response; False if that takes longer than a minute."""
    deadline = time.monotonic() + ACCEPT_TIMEOUT_S
    while True:
        response = send()
        if response is not None and accept(response):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
