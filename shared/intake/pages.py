"""Pages of the intakes: a form that came back, thanks, and what did not work."""

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

_ABOUT_THE_FORM: Final = (HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY)


class IntakePages:
    """The pages of one intake; `template` holds its form, which stands at `address % slug` of the case."""

    def __init__(self, pages: Pages, known: CatalogView, now: Callable[[], float], template: str, address: str) -> None:
        self._pages = pages
        self._known = known
        self._now = now
        self._template = template
        self._address = address

    def form_refused(self, request: Request, case: str | None, typed: Mapping[str, str], refusal: Refusal) -> Response:
        """The answer to a form that could not be taken; `case` is the slug of its case where that is known."""
        if case is None or case not in self._known.cases or refusal.status not in _ABOUT_THE_FORM:
            return self.problem(request, refusal.status)
        language, languages = self._language(request, case, typed.get("locale"))
        form = FormState(dict(typed), [(error.pointer, error.code) for error in refusal.errors])
        return self._pages.response(
            request,
            "closed.html" if refusal.status == HTTPStatus.GONE else self._template,
            language,
            status=refusal.status,
            store=False,
            languages=languages,
            address=self._address % case,
            view=case_view(self._known, case, now=self._now(), language=language.code, form=form),
        )

    def form(self, request: Request, case: str, values: Mapping[str, str]) -> Response:
        """The form, with `values` filled in beforehand."""
        language, languages = self._language(request, case, None)
        view = case_view(self._known, case, now=self._now(), language=language.code, form=FormState(dict(values)))
        return self._pages.response(request, self._template, language, store=False, languages=languages, view=view)

    def thanks(
        self,
        request: Request,
        case: str,
        *,
        kind: Kind,
        receipt: Receipt,
        path: str,
        status: Status,
        posted: bool = False,
    ) -> Response:
        """The thank-you page; `path` is where the receipt's status can be asked, `posted` as in `thanks_view`."""
        language, languages = self._language(request, case, None)
        keys = self._known.keys.get(self._known.cases[case].campaign)
        view = thanks_view(
            self._known,
            case,
            kind=kind,
            posted=posted,
            receipt=short_receipt(keys.token, receipt.topic, receipt.partition, receipt.offset) if keys else "",
            status_address=path,
            counted=status.counted,
            as_of=rfc3339(status.as_of) if status.as_of else None,
            now=self._now(),
            language=language.code,
        )
        return self._pages.response(request, "thanks.html", language, store=False, languages=languages, view=view)

    def show(
        self,
        request: Request,
        template: str,
        case: str | None,
        *,
        status: int = 200,
        chosen: str | None = None,
        **view: Any,
    ) -> Response:
        """Any other page that nobody may keep; `chosen` is a form's `locale`."""
        language, languages = self._language(request, case, chosen)
        shown = {name: make(language.code) for name, make in view.items()}
        return self._pages.response(
            request, template, language, status=status, store=False, languages=languages, **shown
        )

    def problem(self, request: Request, status: int) -> Response:
        """The page of an error."""
        retry_after = RETRY_AFTER_SECONDS if status in (429, 503) else None
        return self._pages.response(
            request,
            "problem.html",
            self._pages.language(request),
            status=status,
            store=False,
            headers={"Retry-After": str(retry_after)} if retry_after else None,
            view=problem_view(status, retry_after=retry_after),
        )

    def _language(self, request: Request, case: str | None, chosen: str | None) -> tuple[Language, tuple[str, ...]]:
        known = self._known.cases.get(case) if case is not None else None
        campaign = self._known.campaigns.get(known.campaign) if known is not None else None
        languages = campaign.languages if campaign is not None else ()
        return self._pages.language(request, languages, chosen=chosen), languages


def to_thanks(address: str, receipt: str, locale: str | None) -> Response:
    """A 303 to the thank-you page under `address`, in the language of the form."""
    query = f"?lang={quote(locale)}" if locale else ""
    return RedirectResponse(f"{address}/{receipt}{query}", 303, NO_STORE)


def wants_json(request: Request) -> bool:
    """Whether the client asks for JSON rather than a page."""
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted
