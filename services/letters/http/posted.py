"""`/v1/messages/posted` and its page: people report a letter or a postcard that they posted themselves."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.letters.domain.requests import PostedRequest
from services.letters.http.messages import MESSAGES_PATH, add_letter_thanks
from shared import codes
from shared.http.problem import Problem, unavailable
from shared.http.service import resolve_client
from shared.intake.pages import FormPages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint
from shared.intake.submit_routes import add_submit_route

PAGE_PATH: Final = "/letters/posted"
MAX_SHOWN_CODE_LENGTH: Final = 40
"""How many characters of a code in the URL the form shows."""


def posted_routes(process: IntakeProcess, endpoint: SubmitEndpoint[PostedRequest], form_pages: FormPages) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["messages"])
    add_submit_route(
        router,
        f"{MESSAGES_PATH}/posted",
        endpoint,
        form_pages,
        name="report_posted_message",
        summary="Tell of a letter or postcard that you posted yourself",
        description="Counted as self-reported, by post. `code` is the one at the foot of the printed sheet, or any "
        "other of its\nform: the same code counts once for each person and case. No text is sent.",
        thanks_url=f"{process.base_url}{PAGE_PATH}/thanks",
        complete_form=_with_code,
    )

    @router.get(f"{PAGE_PATH}/{{slug}}", include_in_schema=False)
    async def page(request: Request, slug: str) -> Response:
        """The page to which the foot of a printed sheet leads."""
        if slug not in process.catalog.cases:
            raise Problem(404) if process.catalog.ready else unavailable()
        country = resolve_client(request).country or ""
        code = request.query_params.get("code", "")[:MAX_SHOWN_CODE_LENGTH]
        return form_pages.show_form(request, slug, {"code": code, "unprinted": new_code(), "country": country})

    add_letter_thanks(router, f"{PAGE_PATH}/thanks", process, posted=True)
    return router


def _with_code(values: Mapping[str, str]) -> Mapping[str, str]:
    """Without a printed sheet the form's own code stands for it, so that sending the form twice counts once."""
    return {**values, "code": values.get("code") or values.get("unprinted", "")}


def new_code() -> str:
    """Return a new code for a sheet. It refers to nothing until somebody reports the sheet."""
    return codes.encode(secrets.randbits(codes.BITS))
