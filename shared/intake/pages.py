"""Pages of the intakes: a refused form, thanks, and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.clock import rfc3339
from shared.events.words import Kind
from shared.http.problem import RETRY_AFTER_SECONDS
from shared.intake.campaign_terms import CatalogView
from shared.intake.receipt_status import Status
from shared.privacy.receipts import Receipt, short_receipt
from shared.refusals import Refusal
from shared.web.languages import Language
from shared.web.pages import Pages
from shared.web.views import FormState, case_view, problem_view, thanks_view

NO_STORE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

_FORM_STATUSES: Final = (HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY)


class IntakePages:
    """The pages of one intake; `form_template` has its form, which is found at `form_url % slug` of the case."""

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
        """Return the answer to a refused form; `case` is the slug of its case where that is known."""
        if case is None or case not in self._catalog.cases or refusal.status not in _FORM_STATUSES:
            return self.show_problem(request, refusal.status)
        language, languages = self._language(request, case, values.get("locale"))
        form = FormState(dict(values), [(error.pointer, error.code) for error in refusal.errors])
        return self._pages.render_response(
            request,
            "closed.html" if refusal.status == HTTPStatus.GONE else self._form_template,
            language,
            status=refusal.status,
            store=False,
            languages=languages,
            address=self._form_url % case,
            view=case_view(self._catalog, case, now=self._now(), language=language.code, form=form),
        )

    def show_form(self, request: Request, case: str, values: Mapping[str, str]) -> Response:
        """Return the page of the form, with `values` filled in."""
        language, languages = self._language(request, case, None)
        view = case_view(self._catalog, case, now=self._now(), language=language.code, form=FormState(dict(values)))
        return self._pages.render_response(
            request, self._form_template, language, store=False, languages=languages, view=view
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
        language, languages = self._language(request, case, None)
        keys = self._catalog.keys.get(self._catalog.cases[case].campaign)
        view = thanks_view(
            self._catalog,
            case,
            kind=kind,
            posted=posted,
            receipt=short_receipt(keys.token, receipt.topic, receipt.partition, receipt.offset) if keys else "",
            status_address=status_url,
            counted=status.counted,
            as_of=rfc3339(status.as_of) if status.as_of else None,
            now=self._now(),
            language=language.code,
        )
        return self._pages.render_response(
            request, "thanks.html", language, store=False, languages=languages, view=view
        )

    def show(
        self,
        request: Request,
        template: str,
        case: str | None,
        *,
        status: int = 200,
        locale: str | None = None,
        **view: Any,
    ) -> Response:
        """Return any other page that must not be stored.

        `locale` is that of a form. `view` has the template's values by name, each as a function of the language.
        """
        language, languages = self._language(request, case, locale)
        views = {name: build(language.code) for name, build in view.items()}
        return self._pages.render_response(
            request, template, language, status=status, store=False, languages=languages, **views
        )

    def show_problem(self, request: Request, status: int) -> Response:
        """Return the page of an error."""
        retry_after = RETRY_AFTER_SECONDS if status in (429, 503) else None
        return self._pages.render_response(
            request,
            "problem.html",
            self._pages.negotiate_language(request),
            status=status,
            store=False,
            headers={"Retry-After": str(retry_after)} if retry_after else None,
            view=problem_view(status, retry_after=retry_after),
        )

    def _language(self, request: Request, case: str | None, chosen: str | None) -> tuple[Language, tuple[str, ...]]:
        entry = self._catalog.cases.get(case) if case is not None else None
        campaign = self._catalog.campaigns.get(entry.campaign) if entry is not None else None
        languages = campaign.languages if campaign is not None else ()
        return self._pages.negotiate_language(request, languages, chosen=chosen), languages


def redirect_to_thanks(url: str, receipt: str, locale: str | None) -> Response:
    """Return a 303 to the thank-you page under `url`, in the language of the form."""
    query = f"?lang={quote(locale)}" if locale else ""
    return RedirectResponse(f"{url}/{receipt}{query}", 303, NO_STORE)


def wants_json(request: Request) -> bool:
    """Whether the client asks for JSON rather than a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept
