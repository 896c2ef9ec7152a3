"""`/v1/messages/posted` and its page: people say that they posted a letter or a postcard themselves."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.letters.domain.requests import POSTED, PostedRequest
from services.letters.http.messages import OPTIONAL, letter_thanks
from services.letters.http.parts import Parts
from shared import codes
from shared.http.service import client_of
from shared.intake import forms
from shared.intake.openapi import RECEIPT, body, responses
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json

PAGE: Final = "/letters/posted"
CODE_SHOWN: Final = 40
"""So much of a code in the address is shown in the form."""


def posted(parts: Callable[[], Parts]) -> APIRouter:
    """The routes. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["messages"])

    @router.post(
        "/v1/messages/posted",
        status_code=202,
        summary="Tell of a letter or postcard that you posted yourself",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT, form=True),
        openapi_extra=body(PostedRequest, form=True),
    )
    async def post(request: Request) -> Response:
        """Counted as self-reported, by post. `code` is the one at the foot of the printed sheet, or any other of its
        form: the same code counts once for each person and case. No text is sent.
        """
        if is_form(request):
            return await _post_by_form(parts(), request)
        return await submit_json(request, parts().posted)

    @router.get(f"{PAGE}/{{slug}}", include_in_schema=False)
    async def page(request: Request, slug: str) -> Response:
        """The page to which the foot of a printed sheet leads."""
        return _page(parts(), request, slug)

    @router.get(f"{PAGE}/thanks/{{receipt}}", include_in_schema=False)
    async def thanks(request: Request, receipt: str) -> Response:
        return await letter_thanks(parts(), request, receipt, posted=True)

    return router


def _page(parts: Parts, request: Request, slug: str) -> Response:
    if slug not in parts.catalog.cases:
        return parts.posted_pages.problem(request, 404 if parts.catalog.ready else 503)
    country = client_of(request).country or ""
    code = request.query_params.get("code", "")[:CODE_SHOWN]
    return parts.posted_pages.form(request, slug, {"code": code, "unprinted": fresh_code(), "country": country})


def fresh_code() -> str:
    """A code for a sheet. It names nobody and nothing until somebody tells of the sheet."""
    return codes.written(secrets.randbits(codes.BITS))


async def _post_by_form(parts: Parts, request: Request) -> Response:
    def decide(typed: Mapping[str, str]) -> OutgoingRecord:
        # Without a printed sheet the form's own code stands for it, so that sending the form twice counts once.
        said = {**typed, "code": typed.get("code") or typed.get("unprinted", "")}
        return parts.posting.post(POSTED.convert(forms.document(said, optional=OPTIONAL)), client_of(request))

    def case_of(typed: Mapping[str, str]) -> str | None:
        return typed.get("case")

    thanks = f"{parts.settings.letters_url}{PAGE}/thanks"
    return await submit_form(request, parts.posted, parts.posted_pages, decide=decide, case_of=case_of, thanks=thanks)
