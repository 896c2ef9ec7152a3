"""`/letters/print/{slug}`: a letter to print and to post oneself. The text goes onto the page in the response, and is
not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.letters.http.posted import PAGE_PATH, new_code
from shared.http.problem import Problem, unavailable
from shared.intake import forms
from shared.intake.process import IntakeProcess
from shared.intake.submit_routes import is_form
from shared.web.views.catalog_view import campaign_languages
from shared.web.views.forms import FormState
from shared.web.views.sheets import sheet_view

PRINT_PATH: Final = "/letters/print/{slug}"


def sheet_routes(process: IntakeProcess) -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)

    @router.get(PRINT_PATH)
    async def empty(request: Request, slug: str) -> Response:
        """A sheet to write on by hand, and a form to fill it in before it is printed."""
        return _show_sheet(process, request, slug, {})

    @router.post(PRINT_PATH)
    async def filled(request: Request, slug: str) -> Response:
        """The sheet with the letter on it. A POST, because the text must not be in a URL."""
        if not is_form(request):
            raise Problem(415)
        values = forms.parse(await request.body())
        # Another site must not put its text onto our page.
        is_cross_site = request.headers.get("sec-fetch-site") == "cross-site"
        return _show_sheet(process, request, slug, {} if is_cross_site else values)

    return router


def _show_sheet(process: IntakeProcess, request: Request, slug: str, values: Mapping[str, str]) -> Response:
    catalog = process.catalog
    case = catalog.cases.get(slug)
    if case is None or case.address is None or not case.accepts_messages:
        raise Problem(404) if catalog.ready else unavailable()
    return process.pages.show(
        request,
        "sheet.html",
        lambda language: sheet_view(
            catalog,
            slug,
            FormState(values),
            code=new_code(),
            report_url=f"{process.base_url}{PAGE_PATH}/{slug}",
            now=process.broker_time.now(),
            language=language,
        ),
        languages=campaign_languages(catalog, slug),
        locale=values.get("locale"),
        store=False,
    )
