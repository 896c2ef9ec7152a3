"""`/v1/signatures`: sign, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.petitions.domain.requests import SIGNATURES, SignatureRequest
from services.petitions.http.parts import Parts
from shared import topics
from shared.events.words import Kind
from shared.http.service import client_of
from shared.intake import forms
from shared.intake.openapi import RECEIPT, STATUS, body, responses
from shared.intake.receipt_routes import read_receipt, state_for_page, status_answer, unknown_receipt
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json
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
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT, form=True),
        openapi_extra=body(SignatureRequest, form=True),
    )
    async def sign(request: Request) -> Response:
        """Answered once the broker has acknowledged the signature. Who signs again gets the same kind of answer."""
        if is_form(request):
            return await _sign_by_form(parts(), request)
        return await submit_json(request, parts().signatures)

    @router.get(
        "/v1/signatures/{receipt}", summary="What became of a signature", responses=responses(404, 503, answer=STATUS)
    )
    async def status(receipt: str) -> JSONResponse:
        """`accepted`, or `counted` once the counter has passed it. It tells nobody who signed, or signed before."""
        return await status_answer(parts().receipts, parts().counted, receipt)

    @router.get("/thanks/{receipt}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        return await _thanks(parts(), request, receipt)

    return router


async def _sign_by_form(parts: Parts, request: Request) -> Response:
    def decide(typed: Mapping[str, str]) -> OutgoingRecord:
        wanted = SIGNATURES.convert(forms.document(typed, optional=OPTIONAL))
        return parts.signing.sign(wanted, client_of(request))

    def case_of(typed: Mapping[str, str]) -> str | None:
        case = parts.catalog.petitions.get(typed.get("petition", ""))
        return case.slug if case is not None else None

    thanks = f"{parts.settings.petitions_url}/thanks"
    return await submit_form(request, parts.signatures, parts.pages, decide=decide, case_of=case_of, thanks=thanks)


async def _thanks(parts: Parts, request: Request, text: str) -> Response:
    try:
        receipt = read_receipt(parts.receipts, text)
        case, kind = _about(parts, receipt)
    except Refusal as refusal:
        return parts.pages.problem(request, refusal.status)
    state = await state_for_page(parts.counted, receipt)
    path = f"{parts.settings.petitions_url}/v1/signatures/{text}"
    return parts.pages.thanks(request, case, kind=kind, receipt=receipt, path=path, status=state)


def _about(parts: Parts, receipt: Receipt) -> tuple[str, Kind]:
    """The case that a receipt is about, and what the page calls the act."""
    signed = receipt.topic == topics.SIGNATURES.name
    case = (parts.catalog.petitions if signed else parts.catalog.cases).get(receipt.subject)
    if case is None:
        raise unknown_receipt()
    return case.slug, "signature" if signed else "share"
