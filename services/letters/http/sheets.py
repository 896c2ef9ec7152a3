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


def sheet_routes(process: IntakeProcess, base_url: str) -> APIRouter:
    """Return the routes; sheets are reported on the pages under `base_url`."""
    router = APIRouter(include_in_schema=False)

    def show(request: Request, slug: str, values: Mapping[str, str]) -> Response:
        report_url = f"{base_url}{PAGE_PATH}/{slug}"
        return _show_sheet(process, request, slug, values, report_url=report_url)

    @router.get(PRINT_PATH)
    async def empty(request: Request, slug: str) -> Response:
        """A sheet to write on by hand, and a form to fill it in before it is printed."""
        return show(request, slug, {})

    @router.post(PRINT_PATH)
    async def filled(request: Request, slug: str) -> Response:
        """The sheet with the letter on it. A POST, because the text must not be in a URL."""
        if not is_form(request):
            raise Problem(415)
        values = forms.parse(await request.body())
        return show(request, slug, {} if _is_cross_site(request) else values)

    return router


def _is_cross_site(request: Request) -> bool:
    """Whether another site sent this form: it must not put its text onto our page."""
    return request.headers.get("sec-fetch-site") == "cross-site"


def _show_sheet(
    process: IntakeProcess,
    request: Request,
    slug: str,
    values: Mapping[str, str],
    *,
    report_url: str,
) -> Response:
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
            report_url=report_url,
            now=process.broker_time.now(),
            language=language,
        ),
        languages=campaign_languages(catalog, slug),
        locale=values.get("locale"),
        store=False,
    )
