"""`/v1/messages`: write, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.letters.domain.requests import MESSAGES, MessageRequest
from services.letters.http.context import IntakeContext
from shared.http.service import resolve_client
from shared.intake import forms
from shared.intake.openapi import RECEIPT_SCHEMA, STATUS_SCHEMA, request_body, responses
from shared.intake.receipt_routes import read_receipt, status_for_page, status_response, unknown_receipt
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json

OPTIONAL_FIELDS: Final = ("country", "postcode", "locale", "comment", "source")
CHECKBOXES: Final = ("handwritten",)
THANKS_PATH: Final = "/letters/thanks"


def message_routes(get_context: Callable[[], IntakeContext]) -> APIRouter:
    """Return the routes; `get_context` is called for each request."""
    router = APIRouter(tags=["messages"])

    @router.post(
        "/v1/messages",
        status_code=202,
        summary="Write a letter, postcard, drawing or solidarity message",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT_SCHEMA, form=True),
        openapi_extra=request_body(MessageRequest, form=True),
    )
    async def write(request: Request) -> Response:
        """Answered once the broker has acknowledged the message. The same text twice is one message, unless each has
        an Idempotency-Key of its own.
        """
        if is_form(request):
            return await _write_by_form(get_context(), request)
        return await submit_json(request, get_context().messages_endpoint)

    @router.get(
        "/v1/messages/{receipt}",
        summary="What became of a message",
        responses=responses(404, 503, answer=STATUS_SCHEMA),
    )
    async def status(receipt: str) -> JSONResponse:
        """`accepted`, or `counted` once the counter has passed it."""
        return await status_response(get_context().receipts, get_context().receipt_status, receipt)

    @router.get(f"{THANKS_PATH}/{{receipt}}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        return await letter_thanks(get_context(), request, receipt)

    return router


async def _write_by_form(context: IntakeContext, request: Request) -> Response:
    def build_from_form(values: Mapping[str, str]) -> OutgoingRecord:
        message = MESSAGES.convert(forms.to_document(values, optional=OPTIONAL_FIELDS, checkboxes=CHECKBOXES))
        return context.write_message.build_record(message, resolve_client(request))

    def case_of(values: Mapping[str, str]) -> str | None:
        return values.get("case")

    thanks_url = f"{context.settings.letters_url}{THANKS_PATH}"
    return await submit_form(
        request,
        context.messages_endpoint,
        context.form_pages,
        build_from_form=build_from_form,
        case_of=case_of,
        thanks_url=thanks_url,
    )


async def letter_thanks(context: IntakeContext, request: Request, text: str, *, posted: bool = False) -> Response:
    """Return the thank-you page of the receipt `text`; `posted` if the sender posted the letter themself.

    Raises:
        Refusal: 404, it is not one of ours.
    """
    receipt = read_receipt(context.receipts, text)
    if receipt.subject not in context.catalog.cases:
        raise unknown_receipt()
    status = await status_for_page(context.receipt_status, receipt)
    status_url = f"{context.settings.letters_url}/v1/messages/{text}"
    return context.form_pages.show_thanks(
        request, receipt.subject, kind="letter", posted=posted, receipt=receipt, status_url=status_url, status=status
    )
