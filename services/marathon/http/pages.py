"""The pages: campaigns, cases, the board. They are rendered from the catalog in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.marathon.domain.history import has_public_history
from services.marathon.http.campaigns import find, require_ready
from services.marathon.http.history import History, HistoryCache
from shared.clock import Clock, parse_rfc3339
from shared.errors import TransientError
from shared.events.values import MessageKind
from shared.http.problem import unavailable
from shared.http.service import resolve_client
from shared.logging import log
from shared.web.languages import Language
from shared.web.pages import Pages
from shared.web.views.board import board_view
from shared.web.views.campaigns import campaign_view, home_view
from shared.web.views.cases import case_view
from shared.web.views.catalog_view import CatalogView, campaign_languages
from shared.web.views.contacts import contact_view
from shared.web.views.forms import FormState
from shared.web.views.minutes import MINUTES

MinuteCounts = Callable[[str], Awaitable[Sequence[tuple[float, int]]]]
"""The actions of a campaign's last hour by minute: (start in seconds since 1970, count)."""
THEMES: Final = ("light", "dark")
BOARD_CACHE_SECONDS: Final = 0.5
MAX_CACHED_BOARDS: Final = 100
_WRITABLE: Final[tuple[MessageKind, ...]] = ("letter", "solidarity_message")


def pages_router(pages: Pages, catalog: CatalogView, clock: Clock, minutes: MinuteCounts) -> APIRouter:
    """Return the routes of the pages. Until `catalog` is ready, those that show it are a 503 with `Retry-After`."""
    router = APIRouter(include_in_schema=False)
    handlers = _PageHandlers(pages, catalog, clock, minutes)
    router.add_api_route("/", handlers.home)
    router.add_api_route("/campaigns/{slug}", handlers.campaign)
    router.add_api_route("/campaigns/{slug}/board", handlers.board)
    router.add_api_route("/cases/{slug}", handlers.case)
    router.add_api_route("/cases/{slug}/write", handlers.write)
    router.add_api_route("/contact", handlers.contact)
    for name in ("how-we-count", "your-data", "accessibility"):
        router.add_api_route(f"/{name}", _text_page(pages, f"{name}.html"))
    return router


def _text_page(pages: Pages, template: str) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        return pages.show(request, template)

    return show


def last_hour(catalog: CatalogView, history_cache: HistoryCache) -> MinuteCounts:
    """Return a function that reads the minutes from `history_cache`.

    It returns none if the database does not answer, and in safety mode: the board is shown without them.
    """

    async def minutes(slug: str) -> Sequence[tuple[float, int]]:
        campaign = catalog.campaigns[slug]
        if not has_public_history(campaign.policies):
            return ()
        try:
            body = await history_cache.read(campaign, "minute", case=None, last=MINUTES)
        except (TransientError, TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("the board has no minutes", campaign=slug, error=type(error).__name__)
            return ()
        return [(parse_rfc3339(point.at), point.count) for point in msgspec.json.decode(body, type=History).points]

    return minutes


class _PageHandlers:
    """One handler for each page."""

    def __init__(self, pages: Pages, catalog: CatalogView, clock: Clock, minutes: MinuteCounts) -> None:
        self._pages = pages
        self._catalog = catalog
        self._clock = clock
        self._minutes = minutes
        self._boards: dict[tuple[str, int, Language, str | None, bool], tuple[float, str]] = {}

    async def home(self, request: Request) -> Response:
        return self._show_all(request, "home.html", home_view)

    async def contact(self, request: Request) -> Response:
        return self._show_all(request, "contact.html", contact_view)

    async def campaign(self, request: Request, slug: str) -> Response:
        languages, now = find(self._catalog, self._catalog.campaigns, slug).languages, self._clock.now()
        return self._pages.show(
            request,
            "campaign.html",
            lambda language: campaign_view(self._catalog, slug, now=now, language=language),
            languages=languages,
        )

    async def board(self, request: Request, slug: str) -> Response:
        languages = find(self._catalog, self._catalog.campaigns, slug).languages
        if slug not in self._catalog.totals:
            return self._pages.show_problem(request, unavailable(), languages)
        language = self._pages.negotiate_language(request, languages)
        requested = request.query_params.get("theme")
        theme = requested if requested in THEMES else None
        refresh = "still" not in request.query_params
        return self._pages.respond(request, language, await self._cached_board(slug, language, theme, refresh=refresh))

    async def _cached_board(self, slug: str, language: Language, theme: str | None, *, refresh: bool) -> str:
        """Return the board as rendered at most half a second ago: it is large, and many clients request it at once."""
        key = (slug, self._catalog.totals[slug].version, language, theme, refresh)
        now = self._clock.now()
        cached = self._boards.get(key)
        if cached is None or not 0 <= now - cached[0] < BOARD_CACHE_SECONDS:
            text = self._pages.render(
                "board.html",
                language,
                languages=self._catalog.campaigns[slug].languages,
                theme=theme,
                refresh=refresh,
                view=board_view(self._catalog, slug, await self._minutes(slug), now=now, language=language.code),
            )
            cached = now, text
            if len(self._boards) >= MAX_CACHED_BOARDS:
                self._boards.clear()
            self._boards[key] = cached
        return cached[1]

    async def case(self, request: Request, slug: str) -> Response:
        return self._show_case(request, "case.html", slug, FormState())

    async def write(self, request: Request, slug: str) -> Response:
        kind = request.query_params.get("kind", "")
        return self._show_case(request, "write.html", slug, FormState({"kind": kind} if kind in _WRITABLE else {}))

    def _show_all(self, request: Request, template: str, view: Callable[..., object]) -> Response:
        require_ready(self._catalog)
        now = self._clock.now()
        return self._pages.show(request, template, lambda language: view(self._catalog, now=now, language=language))

    def _show_case(self, request: Request, template: str, slug: str, form: FormState) -> Response:
        find(self._catalog, self._catalog.cases, slug)
        now, country = self._clock.now(), resolve_client(request).country or ""
        return self._pages.show(
            request,
            template,
            lambda language: case_view(self._catalog, slug, now=now, language=language, form=form, country=country),
            languages=campaign_languages(self._catalog, slug),
        )
