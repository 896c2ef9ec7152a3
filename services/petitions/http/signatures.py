"""`/v1/signatures`: sign, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.petitions.domain.requests import SIGNATURES, SignatureRequest
from services.petitions.http.context import IntakeContext
from shared import topics
from shared.events.words import Kind
from shared.http.service import resolve_client
from shared.intake import forms
from shared.intake.openapi import RECEIPT_SCHEMA, STATUS_SCHEMA, request_body, responses
from shared.intake.receipt_routes import read_receipt, status_for_page, status_response, unknown_receipt
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json
from shared.privacy.receipts import Receipt

OPTIONAL_FIELDS: Final = ("country", "postcode", "locale", "comment", "source")


def signature_routes(get_context: Callable[[], IntakeContext]) -> APIRouter:
    """Return the routes; `get_context` is called for each request."""
    router = APIRouter(tags=["signatures"])

    @router.post(
        "/v1/signatures",
        status_code=202,
        summary="Sign a petition",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT_SCHEMA, form=True),
        openapi_extra=request_body(SignatureRequest, form=True),
    )
    async def sign(request: Request) -> Response:
        """Answered once the broker has acknowledged the signature. Who signs again gets the same kind of answer."""
        if is_form(request):
            return await _sign_by_form(get_context(), request)
        return await submit_json(request, get_context().signatures_endpoint)

    @router.get(
        "/v1/signatures/{receipt}",
        summary="What became of a signature",
        responses=responses(404, 503, answer=STATUS_SCHEMA),
    )
    async def status(receipt: str) -> JSONResponse:
        """`accepted`, or `counted` once the counter has passed it. It tells nobody who signed, or signed before."""
        return await status_response(get_context().receipts, get_context().receipt_status, receipt)

    @router.get("/thanks/{receipt}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        return await _thanks(get_context(), request, receipt)

    return router


async def _sign_by_form(context: IntakeContext, request: Request) -> Response:
    def build_from_form(values: Mapping[str, str]) -> OutgoingRecord:
        signature = SIGNATURES.convert(forms.to_document(values, optional=OPTIONAL_FIELDS))
        return context.sign_petition.build_record(signature, resolve_client(request))

    def case_of(values: Mapping[str, str]) -> str | None:
        case = context.catalog.petitions.get(values.get("petition", ""))
        return case.slug if case is not None else None

    thanks_url = f"{context.settings.petitions_url}/thanks"
    return await submit_form(
        request,
        context.signatures_endpoint,
        context.form_pages,
        build_from_form=build_from_form,
        case_of=case_of,
        thanks_url=thanks_url,
    )


async def _thanks(context: IntakeContext, request: Request, text: str) -> Response:
    receipt = read_receipt(context.receipts, text)
    case, kind = _case_and_kind(context, receipt)
    status = await status_for_page(context.receipt_status, receipt)
    status_url = f"{context.settings.petitions_url}/v1/signatures/{text}"
    return context.form_pages.show_thanks(
        request, case, kind=kind, receipt=receipt, status_url=status_url, status=status
    )


def _case_and_kind(context: IntakeContext, receipt: Receipt) -> tuple[str, Kind]:
    """Return the case of a receipt, and the kind of act that the page names."""
    is_signature = receipt.topic == topics.SIGNATURES.name
    case = (context.catalog.petitions if is_signature else context.catalog.cases).get(receipt.subject)
    if case is None:
        raise unknown_receipt()
    return case.slug, "signature" if is_signature else "share"
