"""The fast and the ordinary route treat the same request alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request

from shared import topics
from shared.http.client import Client
from shared.http.fast_routes import FastResponder
from shared.intake.submit import OutgoingRecord, SubmitEndpoint
from shared.intake.submit_routes import submit_json
from shared.refusals import Refusal

Headers = Sequence[tuple[bytes, bytes]]
CLIENT = Client("192.0.2.1", None)
JSON = (b"content-type", b"application/json")


class RefusingBuilder:
    """Refuses every request, and records its Idempotency-Key."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []

    def __call__(self, _request: object, _client: Client, key: bytes | None) -> OutgoingRecord:
        self.keys.append(key)
        raise Refusal(404, "unknown-petition", "There is no such petition.")


class StubDecoder:
    """Decodes nothing."""

    def decode(self, _body: bytes) -> None: ...


class StubResolver:
    """Every request has the same client."""

    def resolve(self, *_: object) -> Client:
        return CLIENT


async def keys_on_both_routes(headers: Headers) -> list[bytes | None]:
    """Return the Idempotency-Keys of a request with `headers` on the fast and on the ordinary route."""
    builder = RefusingBuilder()
    decoder: Any = StubDecoder()
    receipts: Any = None
    answer: Any = FastResponder
    endpoint = SubmitEndpoint(topics.SIGNATURES, decoder, builder, {}, receipts)
    assert not endpoint.try_submit(b"{}", dict(headers), CLIENT, answer)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    class App:
        class state:  # noqa: N801  an attribute of applications
            client_resolver = StubResolver()

    scope = {"type": "http", "method": "POST", "headers": [JSON, *headers], "client": ("192.0.2.1", 1), "app": App}
    request = Request(scope, receive)
    with pytest.raises(Refusal):
        await submit_json(request, endpoint, request.headers.get("idempotency-key"))
    return builder.keys


@pytest.mark.parametrize("key", ["größe-1".encode(), b"gr\xf6\xdfe-1", b"k-1", b""])
async def test_a_key_is_the_same_on_the_hot_and_on_the_ordinary_route(key: bytes) -> None:
    assert await keys_on_both_routes([(b"idempotency-key", key)]) == [key, key]


async def test_no_key_is_none_on_both_routes() -> None:
    assert await keys_on_both_routes([]) == [None, None]
