"""A preview of every page with sample data, without the services: `python -m tests.support.page_preview [port]`.

A test controls the stream of the board: `PreviewState` holds the totals that it sends, and can stop it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import uvicorn
from babel import localedata
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from deploy.local.databases import SERVICES
from deploy.local.home import PROJECT
from services.marathon.http.pages import pages_router
from shared.clock import rfc3339, utc
from shared.events.marathon import TotalsChanged
from shared.http.client import ClientResolver
from shared.http.problem import Problem, add_problem_handlers
from shared.settings import ServiceSettings
from shared.web.languages import Language
from shared.web.pages import Pages
from shared.web.views.acts import thanks_view, token_view
from shared.web.views.cases import case_view
from shared.web.views.forms import FormState
from shared.web.views.sheets import sheet_view
from tests.support import page_samples
from tests.support.clock import ManualClock
from tests.support.page_samples import CASE, NOW, SLUG, SampleCatalog, sample_catalog

PORT: Final = 17_100
POLL_SECONDS: Final = 0.05
TYPED_FORM: Final = {
    "given_name": "Ana",
    "family_name": "Díaz",
    "email": "ana.example.org",
    "country": "FR",
    "privacy": "on",
}

CODE: Final = "7KQ4-M2XD-9FJ4"
PRINTED_FORM: Final = {
    "given_name": "Ana",
    "family_name": "Díaz",
    "sender": "12 rue de l’Exemple\n69000 Lyon, France",
    "language": "ru",
    "text": page_samples.LETTER,
}


@dataclass
class PreviewState:
    """The state of the preview. While `streaming` is false, streams end and new ones are refused."""

    samples: SampleCatalog = field(default_factory=sample_catalog)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW - 0.2))
    streaming: bool = True
    streams: int = 0
    refused: int = 0

    def publish(self, totals: TotalsChanged) -> None:
        """Publish `totals`."""
        self.samples.totals[totals.campaign] = totals


class AnyLanguagePages(Pages):
    """Pages in any language, translated or not: untranslated texts stay English, the direction follows the language."""

    def negotiate_language(
        self, request: Request, languages: Sequence[str] = (), *, chosen: str | None = None
    ) -> Language:
        requested = request.query_params.get("lang", "")
        if requested in localedata.locale_identifiers():
            return Language(requested, chosen=True)
        return super().negotiate_language(request, languages, chosen=chosen)


class Preview:
    """The pages as an application, on a state."""

    def __init__(self, state: PreviewState, origin: str) -> None:
        self.state = state
        self.origin = origin
        origins = ServiceSettings(
            database_url="",
            port=0,
            marathon_url=origin,
            petitions_url=origin,
            letters_url=origin,
            notifications_url=origin,
        )
        self.pages = {
            service: AnyLanguagePages(service=service, origins=origins, folder=PROJECT / "services" / service)
            for service in SERVICES
        }
        self.app = FastAPI(openapi_url=None)
        self.app.state.client_resolver = ClientResolver((), None)
        add_problem_handlers(self.app, self.pages["marathon"])
        for path, endpoint, method in (
            ("/v1/campaigns/{slug}/totals", self._totals, "GET"),
            ("/v1/campaigns/{slug}/totals/live", self._live, "GET"),
            ("/v1/campaigns/{slug}/history", self._history, "GET"),
            ("/v1/signatures", self._sign, "POST"),
            ("/v1/messages", self._write, "POST"),
            ("/v1/messages/posted", self._post, "POST"),
            ("/letters/posted/{slug}", self._posted, "GET"),
            ("/v1/signatures/{receipt}", self._status, "GET"),
            ("/thanks/{receipt}", self._thanks, "GET"),
            ("/letters/print/{slug}", self._sheet, "GET"),
            ("/letters/print/{slug}", self._sheet, "POST"),
            ("/pages/{name}", self._page, "GET"),
        ):
            self.app.add_route(path, endpoint, methods=[method])
        self.app.router.routes.extend(route for pages in self.pages.values() for route in pages.routes)
        self.app.include_router(pages_router(self.pages["marathon"], state.samples, state.clock, self._minutes))

    async def _minutes(self, slug: str) -> list[tuple[float, int]]:
        del slug
        return page_samples.minutes()

    async def _totals(self, request: Request) -> Response:
        return Response(msgspec.json.encode(self.state.samples.totals[request.path_params["slug"]]))

    async def _history(self, request: Request) -> Response:
        points = [{"at": rfc3339(at), "count": count, "total": 0} for at, count in page_samples.minutes()]
        return JSONResponse({"campaign": request.path_params["slug"], "step": "minute", "points": points})

    async def _live(self, request: Request) -> Response:
        if not self.state.streaming:
            self.state.refused += 1
            return Response(status_code=503)
        return StreamingResponse(self._events(request.path_params["slug"]), media_type="text/event-stream")

    async def _events(self, slug: str) -> AsyncIterator[bytes]:
        sent_version = -1
        self.state.streams += 1
        while self.state.streaming:
            totals = self.state.samples.totals[slug]
            if totals.version != sent_version:
                sent_version = totals.version
                yield b"event: totals\nid: %d\ndata: %s\n\n" % (sent_version, msgspec.json.encode(totals))
            await asyncio.sleep(POLL_SECONDS)

    async def _sign(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        if "@" not in form.get("email", ""):
            return self._form_with_errors(request, "case.html", form, (("/email", "email.invalid"),))
        return RedirectResponse("/thanks/sample-receipt", 303)

    async def _write(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        return self._form_with_errors(
            request, "write.html", form, (("/text", "text.missing"), ("/consent/privacy", "privacy.required"))
        )

    async def _post(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        return self._form_with_errors(
            request, "posted.html", form, (("/code", "code.invalid"), ("/consent/privacy", "privacy.required"))
        )

    async def _posted(self, request: Request) -> Response:
        form = FormState({"code": request.query_params.get("code", "")})
        slug = request.path_params["slug"]
        return self._show(
            request,
            "posted.html",
            lambda language: case_view(self.state.samples, slug, now=NOW, language=language, form=form),
            store=False,
        )

    def _show(
        self, request: Request, template: str, view: Callable[[str], object] | None = None, **options: Any
    ) -> Response:
        return self.pages["marathon"].show(request, template, view, languages=("en", "fr"), **options)

    def _form_with_errors(
        self, request: Request, template: str, form: dict[str, str], errors: tuple[tuple[str, str], ...]
    ) -> Response:
        state = FormState(form, errors)
        return self._show(
            request,
            template,
            lambda language: case_view(self.state.samples, CASE, now=NOW, language=language, form=state),
            locale=form.get("locale"),
            status=422,
            store=False,
            address=f"/cases/{CASE}",
        )

    async def _status(self, request: Request) -> Response:
        del request
        return JSONResponse({"status": "counted", "as_of": rfc3339(NOW)})

    async def _thanks(self, request: Request) -> Response:
        posted = request.path_params["receipt"] == "posted"
        return self._show(
            request,
            "thanks.html",
            lambda language: thanks_view(
                self.state.samples,
                CASE,
                kind="letter" if posted else "signature",
                posted=posted,
                receipt=CODE,
                status_address=f"/v1/signatures/{request.path_params['receipt']}",
                counted=False,
                as_of=rfc3339(NOW),
                now=NOW,
                language=language,
            ),
            store=False,
        )

    async def _sheet(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        return self._render_sheet(request, request.path_params["slug"], form)

    def _render_sheet(self, request: Request, slug: str, form: dict[str, str]) -> Response:
        return self._show(
            request,
            "sheet.html",
            lambda language: sheet_view(
                self.state.samples,
                slug,
                FormState(form),
                code=CODE,
                report_url=f"{self.origin}/letters/posted/{slug}",
                now=NOW,
                language=language,
            ),
            locale=form.get("locale"),
            store=False,
        )

    async def _page(self, request: Request) -> Response:
        """Return a page that is reached only through a form or a link in a mail."""
        name = request.path_params["name"]
        if name == "failed":
            return self._form_with_errors(
                request, "case.html", dict(TYPED_FORM), (("/email", "email.invalid"), ("/consent/privacy", "x"))
            )
        if name == "failed-letter":
            return self._form_with_errors(
                request, "write.html", dict(TYPED_FORM), (("/text", "text.missing"), ("/email", "email.invalid"))
            )
        if name == "preferences":
            preferences = SimpleNamespace(
                suppressed="suppressed" in request.query_params, unconfirmed=2, mailed_at=utc(NOW)
            )
            return self.pages["notifications"].show(
                request,
                "preferences.html",
                lambda _language: preferences,
                languages=("en", "fr"),
                store=False,
                action="/pages/preferences",
            )
        if name == "printed":
            return self._render_sheet(request, CASE, dict(PRINTED_FORM))
        if name == "failed-posted":
            return self._form_with_errors(
                request, "posted.html", {**TYPED_FORM, "code": "7KQ4"}, (("/code", "code.invalid"),)
            )
        if name.isdigit():
            raise Problem(int(name))

        def view(language: str) -> object:
            if name == "closed":
                return case_view(self.state.samples, CASE, now=NOW, language=language)
            acts = [(CASE, "signature"), ("deniz-arslan", "signature")][: 2 if "many" in request.query_params else 1]
            return token_view(self.state.samples, acts, action=f"/pages/{name}", now=NOW, language=language)  # type: ignore[arg-type]

        return self._show(request, f"{name}.html", view)


def main() -> None:
    """Serve the preview on the loopback."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    origin = f"http://127.0.0.1:{port}"
    sys.stdout.write(f"{origin}/cases/{CASE}\n{origin}/campaigns/{SLUG}/board\n")
    uvicorn.run(Preview(PreviewState(), origin).app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
