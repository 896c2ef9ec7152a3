"""`/v1/messages`: write, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.letters.domain.requests import MESSAGES, MessageRequest
from services.letters.http.parts import Parts
from shared.http.service import client_of
from shared.intake import forms
from shared.intake.openapi import RECEIPT, STATUS, body, responses
from shared.intake.receipt_routes import read_receipt, state_for_page, status_answer
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json
from shared.refusals import Refusal

OPTIONAL: Final = ("country", "postcode", "locale", "comment", "source")
BOXES: Final = ("handwritten",)
THANKS: Final = "/letters/thanks"


def messages(parts: Callable[[], Parts]) -> APIRouter:
    """The routes. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["messages"])

    @router.post(
        "/v1/messages",
        status_code=202,
        summary="Write a letter, postcard, drawing or solidarity message",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT, form=True),
        openapi_extra=body(MessageRequest, form=True),
    )
    async def write(request: Request) -> Response:
        """Answered once the broker has acknowledged the message. The same text twice is one message, unless each has
        an Idempotency-Key of its own.
        """
        if is_form(request):
            return await _write_by_form(parts(), request)
        return await submit_json(request, parts().messages)

    @router.get(
        "/v1/messages/{receipt}", summary="What became of a message", responses=responses(404, 503, answer=STATUS)
    )
    async def status(receipt: str) -> JSONResponse:
        """`accepted`, or `counted` once the counter has passed it."""
        return await status_answer(parts().receipts, parts().counted, receipt)

    @router.get(f"{THANKS}/{{receipt}}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        return await letter_thanks(parts(), request, receipt)

    return router


async def _write_by_form(parts: Parts, request: Request) -> Response:
    def decide(typed: Mapping[str, str]) -> OutgoingRecord:
        wanted = MESSAGES.convert(forms.document(typed, optional=OPTIONAL, boxes=BOXES))
        return parts.writing.write(wanted, client_of(request))

    def case_of(typed: Mapping[str, str]) -> str | None:
        return typed.get("case")

    thanks = f"{parts.settings.letters_url}{THANKS}"
    return await submit_form(request, parts.messages, parts.pages, decide=decide, case_of=case_of, thanks=thanks)


async def letter_thanks(parts: Parts, request: Request, text: str, *, posted: bool = False) -> Response:
    """The thank-you page of the receipt `text`; `posted` says that the person posted it themself."""
    try:
        receipt = read_receipt(parts.receipts, text)
    except Refusal as refusal:
        return parts.pages.problem(request, refusal.status)
    if receipt.subject not in parts.catalog.cases:
        return parts.pages.problem(request, 404)
    state = await state_for_page(parts.counted, receipt)
    path = f"{parts.settings.letters_url}/v1/messages/{text}"
    return parts.pages.thanks(
        request, receipt.subject, kind="letter", posted=posted, receipt=receipt, path=path, status=state
    )
