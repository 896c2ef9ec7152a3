"""Pages of the intakes: a form, filled in or refused, and thanks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.clock import rfc3339
from shared.events.words import Kind
from shared.intake.campaign_terms import CatalogView
from shared.intake.receipt_status import Status
from shared.privacy.receipts import Receipt, short_receipt
from shared.refusals import Refusal
from shared.web.pages import Pages
from shared.web.views.acts import thanks_view
from shared.web.views.cases import case_view
from shared.web.views.catalog_view import campaign_languages
from shared.web.views.forms import FormState

NO_STORE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

_FORM_STATUSES: Final = (HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY)


class IntakePages:
    """The pages of one form of an intake: `form_template` has it, and it is found at `form_url % slug` of a case."""

    def __init__(
        self, pages: Pages, catalog: CatalogView, now: Callable[[], float], form_template: str, form_url: str
    ) -> None:
        self._pages = pages
        self._catalog = catalog
        self._now = now
        self._form_template = form_template
        self._form_url = form_url

    def show_refused_form(
        self, request: Request, case: str | None, values: Mapping[str, str], refusal: Refusal
    ) -> Response:
        """Return the form again; `case` is the slug of its case where that is known.

        Raises:
            Refusal: the form cannot help with this one.
        """
        if case is None or case not in self._catalog.cases or refusal.status not in _FORM_STATUSES:
            raise refusal
        form = FormState(dict(values), [(error.pointer, error.code) for error in refusal.errors])
        return self._pages.show(
            request,
            "closed.html" if refusal.status == HTTPStatus.GONE else self._form_template,
            lambda language: case_view(self._catalog, case, now=self._now(), language=language, form=form),
            languages=campaign_languages(self._catalog, case),
            locale=values.get("locale"),
            status=refusal.status,
            store=False,
            address=self._form_url % case,
        )

    def show_form(self, request: Request, case: str, values: Mapping[str, str]) -> Response:
        """Return the page of the form, with `values` filled in."""
        form = FormState(dict(values))
        return self._pages.show(
            request,
            self._form_template,
            lambda language: case_view(self._catalog, case, now=self._now(), language=language, form=form),
            languages=campaign_languages(self._catalog, case),
            store=False,
        )

    def show_thanks(
        self,
        request: Request,
        case: str,
        *,
        kind: Kind,
        receipt: Receipt,
        status_url: str,
        status: Status,
        posted: bool = False,
    ) -> Response:
        """Return the thank-you page; `status_url` answers with the receipt's status, `posted` as in `thanks_view`."""
        keys = self._catalog.keys.get(self._catalog.cases[case].campaign)
        code = short_receipt(keys.token, receipt.topic, receipt.partition, receipt.offset) if keys else ""
        return self._pages.show(
            request,
            "thanks.html",
            lambda language: thanks_view(
                self._catalog,
                case,
                kind=kind,
                posted=posted,
                receipt=code,
                status_address=status_url,
                counted=status.counted,
                as_of=rfc3339(status.as_of) if status.as_of else None,
                now=self._now(),
                language=language,
            ),
            languages=campaign_languages(self._catalog, case),
            store=False,
        )


def redirect_to_thanks(url: str, receipt: str, locale: str | None) -> Response:
    """Return a 303 to the thank-you page under `url`, in the language of the form."""
    query = f"?lang={quote(locale)}" if locale else ""
    return RedirectResponse(f"{url}/{receipt}{query}", 303, NO_STORE)


def wants_json(request: Request) -> bool:
    """Whether the client asks for JSON rather than a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept
