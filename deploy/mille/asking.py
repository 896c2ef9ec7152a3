"""Small questions to the services over HTTP, for commands that wait until something has arrived."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

ANSWER_S: Final = 5.0
PAUSE_S: Final = 0.1


class Answer(NamedTuple):
    """What a service said. `body` is None where it was no JSON."""

    status: int
    body: Any


def ask(
    method: str, address: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer | None:
    """One request to `address`; None where nobody answers within five seconds."""
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=ANSWER_S)
    try:
        connection.request(method, parts.path or "/", body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    try:
        return Answer(response.status, json.loads(content))
    except ValueError:
        return Answer(response.status, None)


async def until(question: Callable[[], Answer | None], good: Callable[[Answer], bool], within: float) -> bool:
    """Ask `question` again and again until its answer is `good`; False where that took longer than `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = await asyncio.to_thread(question)
        if answer is not None and good(answer):
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(PAUSE_S)
