"""`/v1/signatures`: sign, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import asyncpg
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.petitions.domain.requests import SIGNATURES, SignatureRequest
from services.petitions.http.parts import Parts
from shared import topics
from shared.clock import rfc3339
from shared.errors import TransientError
from shared.http.service import client_of
from shared.intake import forms
from shared.intake.counted import Status
from shared.intake.openapi import RECEIPT, body, responses
from shared.intake.pages import to_thanks
from shared.intake.posts import is_form, submit_json
from shared.intake.taking import note_refusal
from shared.privacy.receipts import Receipt
from shared.refusals import Refusal

OPTIONAL: Final = ("country", "postcode", "locale", "comment", "source")


def signatures(parts: Callable[[], Parts]) -> APIRouter:
    """The routes. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["signatures"])

    @router.post(
        "/v1/signatures",
        status_code=202,
        summary="Sign a petition",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT),
        openapi_extra=body(SignatureRequest, form=True),
    )
    async def sign(request: Request) -> Response:
        """Answered once the broker has acknowledged the signature. Who signs again gets the same kind of answer."""
        if is_form(request):
            return await _sign_by_form(parts(), request)
        return await submit_json(request, parts().signatures)

    @router.get(
        "/v1/signatures/{receipt}",
        summary="What became of a signature",
        responses=responses(404, 503),
    )
    async def status(receipt: str) -> JSONResponse:
        """`accepted`, or `counted` once the counter has passed it. It tells nobody who signed, or signed before."""
        found = read_receipt(parts(), receipt)
        state = await parts().counted.status(found.topic, found.partition, found.offset)
        content = {"status": "counted" if state.counted else "accepted", "as_of": rfc3339(state.as_of)}
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    @router.get("/thanks/{receipt}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        try:
            found = read_receipt(parts(), receipt)
            case = _case_of(parts(), found)
        except Refusal as refusal:
            return parts().pages.problem(request, refusal.status)
        state = await _state(parts(), found)
        path = f"{parts().settings.petitions_url}/v1/signatures/{receipt}"
        kind: Any = "signature" if found.topic == topics.SIGNATURES.name else "share"
        return parts().pages.thanks(request, case, kind=kind, receipt=receipt, path=path, status=state)

    return router


async def _sign_by_form(parts: Parts, request: Request) -> Response:
    typed = forms.values(await request.body())
    case = parts.catalog.petitions.get(typed.get("petition", ""))
    slug = case.slug if case is not None else None
    try:
        wanted = SIGNATURES.convert(forms.document(typed, optional=OPTIONAL))
        submission = parts.signing.sign(wanted, client_of(request))
        receipt = await parts.signatures.submit(submission)
    except Refusal as refusal:
        note_refusal(topics.SIGNATURES.name, refusal)
        return parts.pages.form_refused(request, slug, typed, refusal)
    except (TransientError, ConnectionError):
        return parts.pages.problem(request, 503)
    return to_thanks(parts.settings.petitions_url, "/thanks", receipt, typed.get("locale"))


def read_receipt(parts: Parts, receipt: str) -> Receipt:
    """What `receipt` says.

    Raises:
        Refusal: 404, it is none of ours.
    """
    try:
        return parts.receipts.read(receipt)
    except ValueError:
        raise Refusal(404, "unknown-receipt", "There is no such receipt.") from None


def _case_of(parts: Parts, receipt: Receipt) -> str:
    known = parts.catalog.petitions if receipt.topic == topics.SIGNATURES.name else parts.catalog.cases
    case = known.get(receipt.subject)
    if case is None:
        raise Refusal(404, "unknown-receipt", "There is no such receipt.")
    return case.slug


async def _state(parts: Parts, receipt: Receipt) -> Status:
    """The state of a receipt; while the database is away, what is true in any case."""
    try:
        return await parts.counted.status(receipt.topic, receipt.partition, receipt.offset)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return Status(counted=False, as_of=0.0)
