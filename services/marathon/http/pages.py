"""The pages for people: campaigns, cases, the board. They show what the catalog holds in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import asyncpg
import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.marathon.domain.history import is_told
from services.marathon.http.course import Course, History
from shared.clock import Clock, parse_rfc3339
from shared.errors import TransientError
from shared.events.words import MessageKind
from shared.http.problem import RETRY_AFTER_SECONDS, Problem
from shared.http.service import client_of
from shared.logging import log
from shared.web.languages import Language
from shared.web.pages import Pages
from shared.web.views import (
    CatalogView,
    FormState,
    board_view,
    campaign_view,
    case_view,
    contact_view,
    home_view,
    problem_view,
    write_view,
)
from shared.web.views.minutes import MINUTES

Minutes = Callable[[str], Awaitable[Sequence[tuple[float, int]]]]
"""The actions of a campaign's last hour by minute: (start in seconds since 1970, count)."""
THEMES: Final = ("light", "dark")
BOARD_KEPT_SECONDS: Final = 0.5
BOARDS_KEPT: Final = 100
_WRITABLE: Final[tuple[MessageKind, ...]] = ("letter", "solidarity_message")


class ReadyCatalog(CatalogView, Protocol):
    """The catalog, which knows whether it has read everything."""

    @property
    def ready(self) -> bool: ...


def pages_router(pages: Pages, catalog: ReadyCatalog, clock: Clock, minutes: Minutes) -> APIRouter:
    """The routes of the pages and their static files.

    Args:
        pages: marathon's pages.
        catalog: what they show; until it is ready every page is a 503 that asks for patience.
        clock: says which campaigns are open.
        minutes: the history of a campaign.
    """
    router = APIRouter(routes=list(pages.routes), include_in_schema=False)
    shown = _Shown(pages, catalog, clock, minutes)
    router.add_api_route("/", shown.home)
    router.add_api_route("/campaigns/{slug}", shown.campaign)
    router.add_api_route("/campaigns/{slug}/board", shown.board)
    router.add_api_route("/cases/{slug}", shown.case)
    router.add_api_route("/cases/{slug}/write", shown.write)
    router.add_api_route("/how-we-count", shown.how_we_count)
    router.add_api_route("/your-data", shown.your_data)
    router.add_api_route("/accessibility", shown.accessibility)
    router.add_api_route("/contact", shown.contact)
    router.add_api_route("/{address:path}", shown.nothing)
    return router


def last_hour(catalog: CatalogView, course: Course) -> Minutes:
    """The minutes from `course`.

    There are none where the database does not answer, and in safety mode: the board stands without them.
    """

    async def minutes(slug: str) -> Sequence[tuple[float, int]]:
        campaign = catalog.campaigns[slug]
        if not is_told(campaign.policies):
            return ()
        try:
            body = await course.read(campaign, "minute", case=None, last=MINUTES)
        except (TransientError, TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("the board has no minutes", campaign=slug, error=type(error).__name__)
            return ()
        return [(parse_rfc3339(point.at), point.count) for point in msgspec.json.decode(body, type=History).points]

    return minutes


def problem_page(pages: Pages, request: Request, status: int, languages: Sequence[str] = ()) -> Response:
    """The page of an error, for a browser. `status` is an HTTP error status."""
    retry_after = RETRY_AFTER_SECONDS if status in {429, 503} else None
    return pages.response(
        request,
        "problem.html",
        pages.language(request, languages),
        status=status,
        store=False,
        headers={"Retry-After": str(retry_after)} if retry_after else None,
        languages=languages,
        view=problem_view(status, retry_after=retry_after),
    )


class _Shown:
    """One method for each page."""

    def __init__(self, pages: Pages, catalog: ReadyCatalog, clock: Clock, minutes: Minutes) -> None:
        self._pages = pages
        self._catalog = catalog
        self._clock = clock
        self._minutes = minutes
        self._boards: dict[tuple[str, int, Language, str | None, bool], tuple[float, str]] = {}

    async def home(self, request: Request) -> Response:
        if not self._catalog.ready:
            return problem_page(self._pages, request, 503)
        language = self._pages.language(request)
        view = home_view(self._catalog, now=self._clock.now(), language=language.code)
        return self._pages.response(request, "home.html", language, view=view)

    async def campaign(self, request: Request, slug: str) -> Response:
        if (refusal := self._refusal(request, slug, self._catalog.campaigns)) is not None:
            return refusal
        languages = self._catalog.campaigns[slug].languages
        language = self._pages.language(request, languages)
        view = campaign_view(self._catalog, slug, now=self._clock.now(), language=language.code)
        return self._pages.response(request, "campaign.html", language, languages=languages, view=view)

    async def board(self, request: Request, slug: str) -> Response:
        if (refusal := self._refusal(request, slug, self._catalog.campaigns)) is not None:
            return refusal
        languages = self._catalog.campaigns[slug].languages
        if slug not in self._catalog.totals:
            return problem_page(self._pages, request, 503, languages)
        language = self._pages.language(request, languages)
        asked = request.query_params.get("theme")
        theme = asked if asked in THEMES else None
        refresh = "still" not in request.query_params
        return self._pages.answer(request, language, await self._drawn_board(slug, language, theme, refresh=refresh))

    async def _drawn_board(self, slug: str, language: Language, theme: str | None, *, refresh: bool) -> str:
        """The board as it was drawn at most half a second ago: many look at it at once, and it is large."""
        key = (slug, self._catalog.totals[slug].version, language, theme, refresh)
        now = self._clock.now()
        drawn = self._boards.get(key)
        if drawn is None or not 0 <= now - drawn[0] < BOARD_KEPT_SECONDS:
            text = self._pages.render(
                "board.html",
                language,
                languages=self._catalog.campaigns[slug].languages,
                theme=theme,
                refresh=refresh,
                view=board_view(self._catalog, slug, await self._minutes(slug), now=now, language=language.code),
            )
            drawn = now, text
            if len(self._boards) >= BOARDS_KEPT:
                self._boards.clear()
            self._boards[key] = drawn
        return drawn[1]

    async def case(self, request: Request, slug: str) -> Response:
        if (refusal := self._refusal(request, slug, self._catalog.cases)) is not None:
            return refusal
        languages = self._languages_of_case(slug)
        language = self._pages.language(request, languages)
        view = case_view(
            self._catalog,
            slug,
            now=self._clock.now(),
            language=language.code,
            country=client_of(request).country or "",
        )
        return self._pages.response(request, "case.html", language, languages=languages, view=view)

    async def write(self, request: Request, slug: str) -> Response:
        if (refusal := self._refusal(request, slug, self._catalog.cases)) is not None:
            return refusal
        languages = self._languages_of_case(slug)
        language = self._pages.language(request, languages)
        kind = request.query_params.get("kind", "")
        view = write_view(
            self._catalog,
            slug,
            now=self._clock.now(),
            language=language.code,
            form=FormState({"kind": kind} if kind in _WRITABLE else {}),
            country=client_of(request).country or "",
        )
        return self._pages.response(request, "write.html", language, languages=languages, view=view)

    async def how_we_count(self, request: Request) -> Response:
        return self._pages.response(request, "how-we-count.html", self._pages.language(request))

    async def your_data(self, request: Request) -> Response:
        return self._pages.response(request, "your-data.html", self._pages.language(request))

    async def accessibility(self, request: Request) -> Response:
        return self._pages.response(request, "accessibility.html", self._pages.language(request))

    async def contact(self, request: Request) -> Response:
        if not self._catalog.ready:
            return problem_page(self._pages, request, 503)
        language = self._pages.language(request)
        view = contact_view(self._catalog, now=self._clock.now(), language=language.code)
        return self._pages.response(request, "contact.html", language, view=view)

    async def nothing(self, request: Request, address: str) -> Response:
        """Any other address: a page for a browser, a problem for a program."""
        if address.startswith("v1/") or "text/html" not in request.headers.get("accept", ""):
            raise Problem(404)
        return problem_page(self._pages, request, 404)

    def _refusal(self, request: Request, slug: str, among: Mapping[str, Any]) -> Response | None:
        if not self._catalog.ready:
            return problem_page(self._pages, request, 503)
        return problem_page(self._pages, request, 404) if slug not in among else None

    def _languages_of_case(self, slug: str) -> tuple[str, ...]:
        return self._catalog.campaigns[self._catalog.cases[slug].campaign].languages
