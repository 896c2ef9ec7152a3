"""Pages from templates: a language, a view, and headers that forbid third-party resources."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from babel.support import NullTranslations
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.http.problem import Problem
from shared.settings import ServiceSettings
from shared.web.formats import formats_for
from shared.web.languages import Language, available_languages, load_translations, negotiate_language
from shared.web.static_files import StaticFiles, accepts_gzip

TEMPLATES: Final = Path(__file__).parent / "templates"
FRONT_DOOR: Final = "marathon"
_MIN_GZIP_BYTES: Final = 1_000


class Pages:
    """The pages of one service.

    Args:
        service: its name; its static files are under `/static/<service>/`.
        origins: the settings with the origins of the services, for links, form actions and the content-security policy.
        folder: the service's own folder; its `templates/` take precedence, its `static/` is served too, and its
            `translations/`, if it has any, complement the shared ones.
    """

    def __init__(self, *, service: str, origins: ServiceSettings, folder: Path) -> None:
        self.static = StaticFiles(service, folder / "static")
        self._service = service
        self._origins = origins
        self._folder = folder
        self._environments: dict[str, Environment] = {}
        self._policy = content_security_policy(origins)

    @property
    def routes(self) -> list[Route]:
        """The routes of the static files."""
        return self.static.routes

    def negotiate_language(
        self, request: Request, languages: Sequence[str] = (), *, chosen: str | None = None
    ) -> Language:
        """Choose the language for `request`; `languages` are the campaign's, `chosen` is a form's `locale`."""
        return negotiate_language(
            chosen=chosen or request.query_params.get("lang"),
            accept_language=request.headers.get("accept-language"),
            languages=languages,
        )

    def render(self, template: str, language: Language, **view: Any) -> str:
        """Return the HTML of a page: `template` in `language` with the variables `view`, usually `view=` a view model.

        `address` is the page's own address without a query if it differs from that in the browser (a form with errors),
        and `languages` are the languages in which it is offered.

        Raises:
            jinja2.UndefinedError: the template uses a variable that the view lacks.
        """
        page = {"address": "", "languages": (), "theme": None} | view
        page["languages"] = [Language(code) for code in available_languages(page["languages"])]
        page["link"] = _Links(self._service, self._origins, language)
        return self._environment(language.code).get_template(template).render(language=language, **page)

    def show(
        self,
        request: Request,
        template: str,
        view: Callable[[str], object] | None = None,
        *,
        languages: Sequence[str] = (),
        locale: str | None = None,
        status: int = 200,
        store: bool = True,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """Return a page as a response, in the language that suits the client.

        Args:
            request: the request, whose address or browser decides the language.
            template: a file name in the templates folders.
            view: returns the template's `view` in the language of this code.
            languages: those in which the page is offered: the campaign's, or by default all.
            locale: the language of a form that is shown again.
            status: the HTTP status.
            store: whether browsers may cache the page; never one with form input, a receipt or a token.
            headers: further headers.
            values: further variables of the template, as in `render`.
        """
        language = self.negotiate_language(request, languages, chosen=locale)
        values["view"] = view(language.code) if view is not None else None
        text = self.render(template, language, languages=languages, **values)
        return self.respond(request, language, text, status=status, store=store, headers=headers)

    def show_problem(self, request: Request, problem: Problem, languages: Sequence[str] = ()) -> Response:
        """Return the page of an error; what an application raises is shown by it without further ado."""
        headers = problem.headers or {}
        retry_after = int(headers["Retry-After"]) if "Retry-After" in headers else None
        view = {"status": problem.status_code, "retry_after": retry_after}
        return self.show(
            request,
            "problem.html",
            lambda _language: view,
            languages=languages,
            status=problem.status_code,
            store=False,
            headers=headers,
        )

    def respond(
        self,
        request: Request,
        language: Language,
        text: str,
        *,
        status: int = 200,
        store: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return rendered HTML as a response; the arguments are those of `show`."""
        content = text.encode()
        response_headers = self.headers(language, store=store) | dict(headers or {})
        if len(content) >= _MIN_GZIP_BYTES and accepts_gzip(request):
            content = gzip.compress(content, 5, mtime=0)
            response_headers["Content-Encoding"] = "gzip"
        return Response(content, status_code=status, headers=response_headers, media_type="text/html; charset=utf-8")

    def headers(self, language: Language, *, store: bool = True) -> dict[str, str]:
        """Return the headers of a page."""
        robots = {} if store else {"X-Robots-Tag": "noindex"}
        return robots | {
            "Content-Security-Policy": self._policy,
            "Content-Language": language.code,
            "Cache-Control": "no-cache" if store else "no-store",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept-Language, Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }

    def _environment(self, code: str) -> Environment:
        if code not in self._environments:
            self._environments[code] = self._make_environment(code)
        return self._environments[code]

    def _messages(self, code: str) -> NullTranslations:
        messages = copy(load_translations(code, self._folder / "translations"))
        messages.add_fallback(load_translations(code))
        return messages

    def _make_environment(self, code: str) -> Environment:
        environment = Environment(
            loader=FileSystemLoader([self._folder / "templates", TEMPLATES]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(self._messages(code), newstyle=True)  # type: ignore[attr-defined]
        language_formats = formats_for(code)
        for name in ("number", "round_number", "tenths", "share", "time", "minute", "date", "moment", "country"):
            environment.filters[name] = getattr(language_formats, name)
        environment.filters["language_name"] = language_formats.language
        environment.filters["paragraphs"] = paragraphs
        environment.globals.update(
            countries=language_formats.countries,
            written_languages=language_formats.written_languages,
            plural_examples=language_formats.plural_examples,
            static=self.static,
            origins=self._origins,
        )
        return environment


class _Links:
    """Addresses of pages, with the chosen language in their query."""

    def __init__(self, service: str, origins: ServiceSettings, language: Language) -> None:
        self._service = service
        self._origins = origins
        self._language = language

    def __call__(self, path: str, service: str = FRONT_DOOR, **query: str) -> str:
        """Return the address of a page of `service`, relative from marathon to itself. `path` begins with a slash."""
        origin = "" if service == self._service == FRONT_DOOR else getattr(self._origins, f"{service}_url")
        if self._language.chosen:
            query = {**query, "lang": self._language.code}
        return origin + quote(path) + (f"?{urlencode(query)}" if query else "")

    def public(self, path: str) -> str:
        """Return the full address of a page of marathon without a language, for sharing with others."""
        return self._origins.marathon_url + quote(path)


def content_security_policy(origins: ServiceSettings) -> str:
    """Return a policy without inline or third-party content; forms go only to our own services."""
    services = dict.fromkeys((origins.petitions_url, origins.letters_url, origins.notifications_url))
    return "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {origins.marathon_url}",
            f"form-action 'self' {' '.join(services)}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which blank lines separate."""
    return [" ".join(part.split()) for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
