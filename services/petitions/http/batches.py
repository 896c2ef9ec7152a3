"""`/v1/signatures/batch`: signatures from a partner with an API key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from services.petitions.actions.sign_petition import SignPetition
from services.petitions.domain.requests import (
    PARTNER_SIGNATURES,
    PartnerSignature,
    SignatureBatch,
    SignatureRequest,
    read_plain_batch,
    read_raw_batch,
)
from shared.catalog import Catalog
from shared.events.marathon import AccessChanged
from shared.http.openapi import JSON, request_body, responses
from shared.intake.access import authenticate_partner
from shared.intake.campaign_terms import check_ready
from shared.intake.idempotency import IdempotencyMemory
from shared.intake.submit import SubmitEndpoint, count_refusal
from shared.intake.submit_routes import IdempotencyKey, check_json
from shared.refusals import FieldError, Refusal

Item = PartnerSignature | msgspec.Raw
"""A signature of a batch, decoded or not yet."""

SCOPE: Final = "signatures:batch"
PARTNER: Final = HTTPBearer(scheme_name="partner", description="The API key of a partner", auto_error=False)
"""Only documents the scheme: `authenticate_partner` is what judges the key."""
ITEMS_PER_TURN: Final = 100
"""The number of items that are processed before other requests get their turn."""

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


def batch_routes(
    catalog: Catalog, sign_petition: SignPetition, endpoint: SubmitEndpoint[SignatureRequest]
) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["signatures"])
    idempotency = IdempotencyMemory()

    def read_items(partner: AccessChanged, body: bytes, key: str | None) -> Sequence[Item]:
        items: Sequence[Item] = read_plain_batch(body) or read_raw_batch(body).items
        if key is not None:
            idempotency.check(key.encode("latin-1"), body, time.monotonic(), owner=partner.id.encode())
        return items

    @router.post(
        "/v1/signatures/batch",
        status_code=202,
        summary="Bring signatures as a partner",
        dependencies=[Depends(PARTNER)],
        responses=responses(400, 401, 403, 413, 415, 422, 429, 503, accepted=BatchAnswer),
        openapi_extra=request_body(SignatureBatch),
    )
    async def sign_petitions_in_batch(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Up to 1,000 signatures. A bad one does not spoil the others; 503 is about all of them, and safe to repeat."""
        check_ready(catalog)
        partner = authenticate_partner(request.headers.get("authorization"), SCOPE, catalog.access)
        check_json(request)
        body = await request.body()
        # Nothing here refers to the items: what was decoded is released before the acknowledgements are awaited.
        pending, rejected = await _append_items(
            sign_petition, endpoint, partner, read_items(partner, body, idempotency_key)
        )
        await pending.wait()
        return Response(_encode(BatchAnswer(pending.expected, rejected)), 202, media_type=JSON)

    return router


async def _append_items(
    sign_petition: SignPetition,
    endpoint: SubmitEndpoint[SignatureRequest],
    partner: AccessChanged,
    items: Sequence[Item],
) -> tuple[_PendingAcks, list[Rejected]]:
    """Append the good items."""
    rejected: list[Rejected] = []
    pending = _PendingAcks()
    append = endpoint.batches.append
    for index, item in enumerate(items):
        if index % ITEMS_PER_TURN == ITEMS_PER_TURN - 1:
            await asyncio.sleep(0)
        try:
            signature = PARTNER_SIGNATURES.decode_item(item) if isinstance(item, msgspec.Raw) else item
            record = sign_petition.build_partner_record(partner, signature)
        except Refusal as refusal:
            count_refusal(endpoint.topic.name, refusal)
            error = _ITEM_ERRORS.get(refusal.code, FieldError("", f"body.{refusal.code}"))
            rejected.append(Rejected(index, list(refusal.errors) or [error]))
            continue
        pending.expected += 1
        if not append(record.partition, record.key, record.value, record.headers, pending):
            raise ConnectionError("refused: a partition has a backlog")
    return pending, rejected


class _PendingAcks:
    """The acknowledgements of all records of one batch. It may still receive them after its request has failed."""

    __slots__ = ("_acknowledged", "_done", "_failed", "expected")

    def __init__(self) -> None:
        self.expected = 0
        self._acknowledged = 0
        self._failed = False
        self._done: asyncio.Future[None] | None = None

    def on_acknowledged(self, _partition: int, _offset: int) -> None:
        self._acknowledged += 1
        self._resolve()

    def on_failed(self) -> None:
        self._failed = True
        self._resolve()

    async def wait(self) -> None:
        """Wait until all are acknowledged.

        Raises:
            ConnectionError: one is not.
        """
        self._done = asyncio.get_running_loop().create_future()
        self._resolve()
        await self._done

    def _resolve(self) -> None:
        if self._done is None or self._done.done():
            return
        if self._failed:
            self._done.set_exception(ConnectionError("not all are acknowledged"))
        elif self._acknowledged == self.expected:
            self._done.set_result(None)
