"""Pages from templates: a language, a view, and headers that let in nothing from elsewhere."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from babel.support import NullTranslations
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.web.formats import formats
from shared.web.languages import Language, available, negotiate, translations
from shared.web.static_files import StaticFiles, takes_gzip

TEMPLATES: Final = Path(__file__).parent / "templates"
_PACK_FROM_BYTES: Final = 1_000


class Origins(Protocol):
    """The public origins of the services, without a trailing slash: every `ServiceSettings` has them."""

    @property
    def marathon_url(self) -> str: ...
    @property
    def petitions_url(self) -> str: ...
    @property
    def letters_url(self) -> str: ...
    @property
    def notifications_url(self) -> str: ...


class Pages:
    """The pages of one service.

    Args:
        service: its name; its static files are under `/static/<service>/`.
        origins: where the services are, for links, form actions and the content-security policy.
        folder: the service's own folder; its `templates/` are looked in first, its `static/` is served too, and the
            sentences of its `translations/`, if it has any, are known beside the shared ones.
    """

    def __init__(self, *, service: str, origins: Origins, folder: Path | None = None) -> None:
        self.static = StaticFiles(service, folder / "static" if folder is not None else None)
        self._service = service
        self._origins = origins
        self._templates = [*([folder / "templates"] if folder is not None else []), TEMPLATES]
        self._translations = folder / "translations" if folder is not None else None
        self._environments: dict[str, Environment] = {}
        self._policy = content_security_policy(origins)

    @property
    def routes(self) -> list[Route]:
        """The routes of the static files; an app that renders pages includes them."""
        return self.static.routes

    def language(self, request: Request, languages: Sequence[str] = (), *, chosen: str | None = None) -> Language:
        """The language of the answer to `request`; `languages` are the campaign's, `chosen` a form's `locale`."""
        return negotiate(
            chosen=chosen or request.query_params.get("lang"),
            accepted=request.headers.get("accept-language"),
            languages=languages,
        )

    def render(self, template: str, language: Language, **view: Any) -> str:
        """The text of a page.

        Args:
            template: a file name in the templates folders.
            language: what it is written in.
            view: what the template shows, usually `view=` one of shared.web.views. `address` is the page's own
                address without a query where it is not the one in the browser (a form that came back), and
                `languages` the languages it is offered in.

        Raises:
            jinja2.UndefinedError: the template names something that the view lacks.
        """
        page = {"address": "", "languages": (), "theme": None} | view
        page["languages"] = [Language(code) for code in available(page["languages"])]
        page["link"] = _Links(self._service, self._origins, language)
        return self._environment(language.code).get_template(template).render(language=language, **page)

    def response(
        self,
        request: Request,
        template: str,
        language: Language,
        *,
        status: int = 200,
        store: bool = True,
        headers: Mapping[str, str] | None = None,
        **view: Any,
    ) -> Response:
        """A page as an answer. `store=False` for what must stay nowhere: typed forms, receipts, tokens."""
        text = self.render(template, language, **view)
        return self.answer(request, language, text, status=status, store=store, headers=headers)

    def answer(
        self,
        request: Request,
        language: Language,
        text: str,
        *,
        status: int = 200,
        store: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A page that is rendered already, as an answer; the arguments are those of `response`."""
        content = text.encode()
        sent = self.headers(language, store=store) | dict(headers or {})
        if len(content) >= _PACK_FROM_BYTES and takes_gzip(request):
            content = gzip.compress(content, 5, mtime=0)
            sent["Content-Encoding"] = "gzip"
        return Response(content, status_code=status, headers=sent, media_type="text/html; charset=utf-8")

    def headers(self, language: Language, *, store: bool = True) -> dict[str, str]:
        """The headers of a page."""
        kept = {} if store else {"X-Robots-Tag": "noindex"}
        return kept | {
            "Content-Security-Policy": self._policy,
            "Content-Language": language.code,
            "Cache-Control": "no-cache" if store else "no-store",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept-Language, Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }

    def _environment(self, code: str) -> Environment:
        environment = self._environments.get(code)
        if environment is None:
            environment = self._environments[code] = self._make_environment(code)
        return environment

    def _messages(self, code: str) -> NullTranslations:
        if self._translations is None:
            return translations(code)
        messages = copy(translations(code, self._translations))
        messages.add_fallback(translations(code))
        return messages

    def _make_environment(self, code: str) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(self._templates),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(self._messages(code), newstyle=True)  # type: ignore[attr-defined]
        written = formats(code)
        for name in ("number", "round_number", "tenths", "share", "time", "minute", "date", "moment", "country"):
            environment.filters[name] = getattr(written, name)
        environment.filters["language_name"] = written.language
        environment.filters["paragraphs"] = paragraphs
        environment.globals.update(
            countries=written.countries,
            written_languages=written.written_languages,
            plural_examples=written.plural_examples,
            static=self.static,
            origins=self._origins,
        )
        return environment


class _Links:
    """Addresses of pages, which keep a chosen language."""

    def __init__(self, service: str, origins: Origins, language: Language) -> None:
        self._service = service
        self._origins = origins
        self._language = language

    def __call__(self, path: str, **query: str) -> str:
        """The address of a page of marathon, relative on marathon itself. `path` begins with a slash."""
        origin = "" if self._service == "marathon" else self._origins.marathon_url
        return origin + self._kept(path, query)

    def letters(self, path: str, **query: str) -> str:
        """The address of a page of letters."""
        return self._origins.letters_url + self._kept(path, query)

    def _kept(self, path: str, query: dict[str, str]) -> str:
        if self._language.chosen:
            query = {**query, "lang": self._language.code}
        return quote(path) + (f"?{urlencode(query)}" if query else "")

    def public(self, path: str) -> str:
        """The full address of a page of marathon in no particular language, to be passed on to others."""
        return self._origins.marathon_url + quote(path)


def content_security_policy(origins: Origins) -> str:
    """Nothing inline and nothing from elsewhere; forms go only to our own services."""
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
    """The paragraphs of a text: what blank lines part."""
    return [" ".join(part.split()) for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
