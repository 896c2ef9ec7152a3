"""What both routes of a post make of the same request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request

from shared.http.client import Client
from shared.http.fast_routes import FastAnswer
from shared.intake.submit import OutgoingRecord, SubmitEndpoint
from shared.intake.submit_routes import submit_json
from shared.refusals import Refusal

Headers = Sequence[tuple[bytes, bytes]]
CLIENT = Client("192.0.2.1", None)
JSON = (b"content-type", b"application/json")


class Decided:
    """Decides on nothing, and keeps the Idempotency-Keys it was given."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    def __call__(self, _body: bytes, _client: Client, key: bytes | None) -> OutgoingRecord:
        self.keys.append(key)
        raise Refusal(404, "unknown-petition", "There is no such petition.")


class Windows:
    """Nothing is put here; refusals are counted by the topic."""

    class topic:  # noqa: N801  an attribute of windows
        name = "signatures"


class Clients:
    """Everybody is the same."""

    def of(self, *_: object) -> Client:
        return CLIENT


async def ask_both(headers: Headers) -> list[bytes | None]:
    """The Idempotency-Key of a post with `headers` on the hot and on the ordinary route."""
    decided = Decided()
    windows: Any = Windows()
    receipts: Any = None
    answer: Any = FastAnswer
    taking = SubmitEndpoint(decided, windows, receipts)
    assert not taking.take(b"{}", dict(headers), CLIENT, answer)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    class App:
        class state:  # noqa: N801  an attribute of applications
            clients = Clients()

    scope = {"type": "http", "method": "POST", "headers": [JSON, *headers], "client": ("192.0.2.1", 1), "app": App}
    with pytest.raises(Refusal):
        await submit_json(Request(scope, receive), taking)
    return decided.keys


@pytest.mark.parametrize("key", ["größe-1".encode(), b"gr\xf6\xdfe-1", b"k-1", b""])
async def test_a_key_is_the_same_on_the_hot_and_on_the_ordinary_route(key: bytes) -> None:
    assert await ask_both([(b"idempotency-key", key)]) == [key, key]


async def test_no_key_is_none_on_both_routes() -> None:
    assert await ask_both([]) == [None, None]
