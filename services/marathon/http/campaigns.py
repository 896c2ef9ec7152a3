"""`GET /v1/campaigns`, `/v1/campaigns/{slug}` and `/v1/cases/{slug}`, from memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from services.marathon.http.documents import TotalsDocuments
from shared.catalog import Catalog
from shared.clock import Clock
from shared.events.marathon import CampaignChanged, CaseChanged
from shared.http.openapi import json_answer, responses
from shared.http.problem import Problem, unavailable
from shared.web.views.catalog_view import CatalogView, campaign_window

CACHED: Final = {"Cache-Control": "public, max-age=5"}
Window = Literal["upcoming", "open", "closed"]
Event = TypeVar("Event")


class CampaignAnswer(CampaignChanged, frozen=True, kw_only=True):
    """A campaign, whether one can act in it now, and its public total."""

    window: Window
    public_total: int
    as_of: str | None


class CampaignList(msgspec.Struct, frozen=True):
    """All campaigns: those that are open first, then those to come, then the past."""

    campaigns: list[CampaignAnswer]


class CaseAnswer(CaseChanged, frozen=True, kw_only=True):
    """A case and its public total."""

    public_total: int
    as_of: str | None


def router(catalog: Catalog, documents: TotalsDocuments, clock: Clock) -> APIRouter:
    """Return the routes, served from `catalog`."""
    routes = APIRouter(tags=["campaigns"], default_response_class=Response)

    @routes.get(
        "/v1/campaigns",
        summary="All campaigns",
        responses=responses(503, answer=CampaignList),
    )
    async def list_campaigns() -> Response:
        """Open campaigns first, then those to come, then past ones; the latest of each first."""
        require_ready(catalog)
        order: dict[Window, int] = {"open": 0, "upcoming": 1, "closed": 2}
        answers = [_campaign(campaign) for campaign in catalog.campaigns.values()]
        answers.sort(key=lambda answer: (answer.opens, answer.slug), reverse=True)
        answers.sort(key=lambda answer: order[answer.window])
        return json_answer(CampaignList(answers), CACHED)

    @routes.get(
        "/v1/campaigns/{slug}",
        summary="A campaign",
        responses=responses(404, 503, answer=CampaignAnswer),
    )
    async def read_campaign(slug: str) -> Response:
        """Its window, languages, policies, cases and sections."""
        return json_answer(_campaign(campaign_or_problem(catalog, slug)), CACHED)

    @routes.get(
        "/v1/cases/{slug}",
        summary="A case",
        responses=responses(404, 503, answer=CaseAnswer),
    )
    async def read_case(slug: str) -> Response:
        """A person or community for whom people act, with the petition's text."""
        event = find(catalog, catalog.cases, slug, "There is no such case.")
        document = documents.current(event.campaign)
        total = document.totals.by_case.get(slug, 0) if document is not None else 0
        as_of = document.totals.as_of if document is not None else None
        answer = CaseAnswer(**msgspec.structs.asdict(event), public_total=total, as_of=as_of)
        return json_answer(answer, CACHED)

    def _campaign(event: CampaignChanged) -> CampaignAnswer:
        document = documents.current(event.slug)
        phase = campaign_window(event, clock.now()).phase
        return CampaignAnswer(
            **msgspec.structs.asdict(event),
            window="upcoming" if phase == "before" else phase,
            public_total=document.totals.public_total if document is not None else 0,
            as_of=document.totals.as_of if document is not None else None,
        )

    return routes


def campaign_or_problem(catalog: Catalog, slug: str) -> CampaignChanged:
    """Return the campaign `slug`.

    Raises:
        Problem: 404 if there is no such campaign, 503 while the catalog is not ready.
    """
    return find(catalog, catalog.campaigns, slug, "There is no such campaign.")


def find(catalog: CatalogView, events: Mapping[str, Event], slug: str, detail: str | None = None) -> Event:
    """Return the campaign or case `slug` of `events`, which are those of `catalog`.

    Raises:
        Problem: 404, with this `detail`, if there is none, 503 while the catalog is not ready.
    """
    require_ready(catalog)
    event = events.get(slug)
    if event is None:
        raise Problem(404, detail=detail)
    return event


def require_ready(catalog: CatalogView) -> None:
    """Raise a 503 while `catalog` is not ready."""
    if not catalog.ready:
        raise unavailable()
