"""`/letters/print/{slug}`: a letter to print and to post oneself. What is typed goes onto the page that answers, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.letters.http.parts import Parts
from services.letters.http.posted import PAGE, fresh_code
from shared.intake import forms
from shared.intake.submit_routes import is_form
from shared.refusals import Refusal
from shared.web.views import FormState, sheet_view

PRINT: Final = "/letters/print/{slug}"


def sheets(parts: Callable[[], Parts]) -> APIRouter:
    """The routes. `parts` gives what a running intake works with."""
    router = APIRouter(include_in_schema=False)

    @router.get(PRINT)
    async def empty(request: Request, slug: str) -> Response:
        """A sheet to write on by hand, and a form to fill it in before it is printed."""
        return _sheet(parts(), request, slug, {})

    @router.post(PRINT)
    async def filled(request: Request, slug: str) -> Response:
        """The sheet with the letter on it. A post, because what is typed must stand in no address."""
        running = parts()
        if not is_form(request):
            return running.pages.problem(request, 415)
        try:
            typed = forms.values(await request.body())
        except Refusal as refusal:
            return running.pages.problem(request, refusal.status)
        return _sheet(running, request, slug, {} if _is_from_elsewhere(request) else typed)

    return router


def _is_from_elsewhere(request: Request) -> bool:
    """Whether another site sent this form: nobody puts words of theirs onto a page of ours."""
    return request.headers.get("sec-fetch-site") == "cross-site"


def _sheet(parts: Parts, request: Request, slug: str, typed: Mapping[str, str]) -> Response:
    case = parts.catalog.cases.get(slug)
    if case is None or case.address is None or not case.accepts_messages:
        return parts.pages.problem(request, 404 if parts.catalog.ready else 503)
    return parts.pages.show(
        request,
        "sheet.html",
        slug,
        chosen=typed.get("locale"),
        view=lambda language: sheet_view(
            parts.catalog,
            slug,
            FormState(typed),
            code=fresh_code(),
            report=f"{parts.settings.letters_url}{PAGE}/{slug}",
            now=parts.now(),
            language=language,
        ),
    )
