"""The form of an intake, as the page that has it, filled in or refused."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared.intake.process import IntakeProcess
from shared.refusals import Refusal
from shared.web.views.cases import case_view
from shared.web.views.catalog_view import campaign_languages
from shared.web.views.forms import FormState

NO_STORE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

_FORM_STATUSES: Final = (HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY)


class FormPages:
    """The pages of one form of an intake: `template` has it, and it is found at `url % slug` of a case."""

    def __init__(self, process: IntakeProcess, template: str, url: str) -> None:
        self._process = process
        self._template = template
        self._url = url

    def show_refused_form(
        self, request: Request, case: str | None, values: Mapping[str, str], refusal: Refusal
    ) -> Response:
        """Return the form again; `case` is the slug of its case where that is known.

        Raises:
            Refusal: the form cannot help with this one.
        """
        if case is None or case not in self._process.catalog.cases or refusal.status not in _FORM_STATUSES:
            raise refusal
        return self.show_form(request, case, values, refusal)

    def show_form(
        self, request: Request, case: str, values: Mapping[str, str], refusal: Refusal | None = None
    ) -> Response:
        """Return the page of the form, with `values` filled in, and what a `refusal` says of them."""
        catalog, now = self._process.catalog, self._process.broker_time.now()
        form = FormState(dict(values), [(error.pointer, error.code) for error in refusal.errors] if refusal else ())
        return self._process.pages.show(
            request,
            "closed.html" if refusal and refusal.status == HTTPStatus.GONE else self._template,
            lambda language: case_view(catalog, case, now=now, language=language, form=form),
            languages=campaign_languages(catalog, case),
            locale=values.get("locale"),
            status=refusal.status if refusal else 200,
            store=False,
            address=self._url % case if refusal else "",
        )
