"""`/v1/messages/posted` and its page: people report a letter or a postcard that they posted themselves."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.letters.domain.requests import POSTED, PostedRequest
from services.letters.http.context import IntakeContext
from services.letters.http.messages import OPTIONAL_FIELDS, letter_thanks
from shared import codes
from shared.http.problem import Problem, unavailable
from shared.http.service import resolve_client
from shared.intake import forms
from shared.intake.openapi import RECEIPT_SCHEMA, request_body, responses
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json

PAGE_PATH: Final = "/letters/posted"
MAX_SHOWN_CODE_LENGTH: Final = 40
"""How many characters of a code in the URL the form shows."""


def posted_routes(get_context: Callable[[], IntakeContext]) -> APIRouter:
    """Return the routes; `get_context` is called for each request."""
    router = APIRouter(tags=["messages"])

    @router.post(
        "/v1/messages/posted",
        status_code=202,
        summary="Tell of a letter or postcard that you posted yourself",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT_SCHEMA, form=True),
        openapi_extra=request_body(PostedRequest, form=True),
    )
    async def post(request: Request) -> Response:
        """Counted as self-reported, by post. `code` is the one at the foot of the printed sheet, or any other of its
        form: the same code counts once for each person and case. No text is sent.
        """
        if is_form(request):
            return await _post_by_form(get_context(), request)
        return await submit_json(request, get_context().posted_endpoint)

    @router.get(f"{PAGE_PATH}/{{slug}}", include_in_schema=False)
    async def page(request: Request, slug: str) -> Response:
        """The page to which the foot of a printed sheet leads."""
        return _page(get_context(), request, slug)

    @router.get(f"{PAGE_PATH}/thanks/{{receipt}}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        return await letter_thanks(get_context(), request, receipt, posted=True)

    return router


def _page(context: IntakeContext, request: Request, slug: str) -> Response:
    if slug not in context.catalog.cases:
        raise Problem(404) if context.catalog.ready else unavailable()
    country = resolve_client(request).country or ""
    code = request.query_params.get("code", "")[:MAX_SHOWN_CODE_LENGTH]
    values = {"code": code, "unprinted": new_code(), "country": country}
    return context.posted_form_pages.show_form(request, slug, values)


def new_code() -> str:
    """Return a new code for a sheet. It refers to nothing until somebody reports the sheet."""
    return codes.encode(secrets.randbits(codes.BITS))


async def _post_by_form(context: IntakeContext, request: Request) -> Response:
    def build_from_form(values: Mapping[str, str]) -> OutgoingRecord:
        # Without a printed sheet the form's own code stands for it, so that sending the form twice counts once.
        with_code = {**values, "code": values.get("code") or values.get("unprinted", "")}
        return context.report_posted.build_record(
            POSTED.convert(forms.to_document(with_code, optional=OPTIONAL_FIELDS)), resolve_client(request)
        )

    def case_of(values: Mapping[str, str]) -> str | None:
        return values.get("case")

    thanks_url = f"{context.settings.letters_url}{PAGE_PATH}/thanks"
    return await submit_form(
        request,
        context.posted_endpoint,
        context.posted_form_pages,
        build_from_form=build_from_form,
        case_of=case_of,
        thanks_url=thanks_url,
    )
