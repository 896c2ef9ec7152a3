"""`/v1/signatures/batch`: signatures from a partner with an API key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.petitions.domain.requests import (
    BATCH_ITEMS,
    PARTNER_SIGNATURES,
    PartnerSignature,
    read_batch,
    read_usual_batch,
)
from services.petitions.http.parts import Parts
from shared import topics
from shared.events.marathon import AccessChanged
from shared.intake.access import partner
from shared.intake.campaign_terms import check_ready
from shared.intake.openapi import responses, schema_of
from shared.intake.submit import OutgoingRecord, note_refusal
from shared.intake.submit_routes import JSON, check_json
from shared.refusals import FieldError, Refusal

Item = PartnerSignature | msgspec.Raw
"""A signature of a batch, read already or still to be read."""

SCOPE: Final = "signatures:batch"
AT_ONCE: Final = 100
"""Items decided before other requests get their turn."""

_ITEM_ERRORS: Final = {
    "unknown-petition": FieldError("/petition", "petition.unknown"),
    "closed": FieldError("/petition", "petition.closed"),
    "not-open": FieldError("/petition", "petition.not-open"),
    "not-json": FieldError("", "body.not-json"),
}
_encode: Final = msgspec.json.Encoder().encode


class Rejected(msgspec.Struct, frozen=True):
    """One item that was not taken."""

    index: int
    errors: list[FieldError]


class BatchAnswer(msgspec.Struct, frozen=True):
    """How many were taken, and which were not."""

    accepted: int
    rejected: list[Rejected]


def batches(parts: Callable[[], Parts]) -> APIRouter:
    """The route. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["signatures"])

    @router.post(
        "/v1/signatures/batch",
        status_code=202,
        summary="Bring signatures as a partner",
        responses=responses(400, 401, 403, 413, 415, 422, 503, accepted=schema_of(BatchAnswer)),
        openapi_extra=_described(),
    )
    async def bring(request: Request) -> Response:
        """Up to 1,000 signatures. A bad one does not spoil the others; 503 is about all of them, and safe to repeat."""
        known = parts()
        check_ready(known.catalog)
        who = partner(request.headers.get("authorization"), SCOPE, known.catalog.access)
        check_json(request)
        body = await request.body()
        waiting, rejected = await _take(known, who, body, request.headers.get("idempotency-key"))
        await waiting.all()
        return Response(_encode(BatchAnswer(waiting.expected, rejected)), 202, media_type=JSON)

    return router


async def _take(parts: Parts, who: AccessChanged, body: bytes, key: str | None) -> tuple[_Waiting, list[Rejected]]:
    """Append what can be taken; what was read of `body` is let go of before its acknowledgements are waited for."""
    items: Sequence[Item] = read_usual_batch(body) or read_batch(body).items
    if key is not None:
        parts.signing.remember_batch(who, key.encode("latin-1"), body)
    rejected: list[Rejected] = []
    waiting = _Waiting()
    append = parts.signatures.windows.append
    for index, item in enumerate(items):
        if index % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            submission = _decide(parts, who, item)
        except Refusal as refusal:
            note_refusal(topics.SIGNATURES.name, refusal)
            rejected.append(Rejected(index, _errors(refusal)))
            continue
        waiting.expected += 1
        if not append(submission.partition, submission.key, submission.value, submission.headers, waiting):
            raise ConnectionError("refused: a partition has a backlog")
    return waiting, rejected


def _decide(parts: Parts, who: AccessChanged, item: Item) -> OutgoingRecord:
    request = PARTNER_SIGNATURES.decode_item(item) if isinstance(item, msgspec.Raw) else item
    return parts.signing.sign_for(who, request)


def _errors(refusal: Refusal) -> list[FieldError]:
    return list(refusal.errors) or [_ITEM_ERRORS.get(refusal.code, FieldError("", f"body.{refusal.code}"))]


class _Waiting:
    """Waits for every record of one batch. It stays usable as a waiter after its request has given up."""

    __slots__ = ("_acknowledged", "_done", "_failed", "expected")

    def __init__(self) -> None:
        self.expected = 0
        self._acknowledged = 0
        self._failed = False
        self._done: asyncio.Future[None] | None = None

    def acknowledged(self, _partition: int, _offset: int) -> None:
        self._acknowledged += 1
        self._settle()

    def failed(self) -> None:
        self._failed = True
        self._settle()

    async def all(self) -> None:
        """Wait until all are acknowledged.

        Raises:
            ConnectionError: one is not.
        """
        self._done = asyncio.get_running_loop().create_future()
        self._settle()
        await self._done

    def _settle(self) -> None:
        if self._done is None or self._done.done():
            return
        if self._failed:
            self._done.set_exception(ConnectionError("not all are acknowledged"))
        elif self._acknowledged == self.expected:
            self._done.set_result(None)


def _described() -> dict[str, Any]:
    items = {"type": "array", "maxItems": BATCH_ITEMS, "items": schema_of(PartnerSignature)}
    schema = {"type": "object", "required": ["items"], "properties": {"items": items}}
    return {
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "security": [{"partner": []}],
    }
