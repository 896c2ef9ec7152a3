"""`GET /v1/campaigns/{slug}/totals`, `/totals/live` and `/history`."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from services.marathon.domain.history import MAX_STEPS, Step, has_public_history
from services.marathon.http.campaigns import campaign_or_problem
from services.marathon.http.documents import TotalsDocuments
from services.marathon.http.history import History, HistoryCache
from services.marathon.http.live import LiveBoard
from shared.catalog import Catalog
from shared.events.marathon import TotalsChanged
from shared.http.openapi import JSON, responses
from shared.http.problem import Problem, unavailable

CACHE_TOTALS: Final = "public, max-age=1"
CACHE_HISTORY: Final = "public, max-age=5"
NOT_MODIFIED: Final = {"description": "What `If-None-Match` names is still current"}
STREAM: Final = {
    "description": "The totals document as server-sent events",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def router(catalog: Catalog, documents: TotalsDocuments, board: LiveBoard, history_cache: HistoryCache) -> APIRouter:
    """Return the routes, served from `documents` and, for the history, from `history_cache`."""
    routes = APIRouter(tags=["totals"], default_response_class=Response)

    @routes.get(
        "/v1/campaigns/{slug}/totals",
        summary="The totals of a campaign",
        responses={**responses(404, 503, answer=TotalsChanged), 304: NOT_MODIFIED},
    )
    async def read_totals(slug: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """Absolute values, true as of `as_of`. The same document comes over `/totals/live`."""
        campaign_or_problem(catalog, slug)
        document = documents.current(slug)
        if document is None:
            raise unavailable()
        headers = {"ETag": f'"{document.tag}"', "Cache-Control": CACHE_TOTALS}
        if if_none_match is not None and _matches(if_none_match, document.tag):
            return Response(status_code=304, headers=headers)
        return Response(document.body, headers=headers, media_type=JSON)

    @routes.get(
        "/v1/campaigns/{slug}/totals/live",
        summary="The totals as server-sent events",
        responses={**responses(404, 503), 200: STREAM},
    )
    async def follow_totals(slug: str, last_event_id: Annotated[str | None, Header()] = None) -> Response:
        """The totals document at once, and again whenever it changes, at most once a second."""
        campaign_or_problem(catalog, slug)
        return board.response(slug, last_event_id)

    @routes.get(
        "/v1/campaigns/{slug}/history",
        summary="Counts over time",
        responses=responses(404, 422, 503, answer=History),
    )
    async def read_history(
        slug: str,
        step: Step = "hour",
        case: Annotated[str | None, Query(max_length=80)] = None,
        last: Annotated[int | None, Query(ge=1, le=MAX_STEPS)] = None,
    ) -> Response:
        """Public counts by the time of acceptance: the `last` so many steps, those that brought nothing left out.

        A campaign in safety mode tells none: 404.
        """
        campaign = campaign_or_problem(catalog, slug)
        if case is not None and case not in campaign.cases:
            raise Problem(404, detail="The campaign has no such case.")
        if not has_public_history(campaign.policies):
            raise Problem(404, detail="A campaign in safety mode tells no counts over time.")
        body = await history_cache.read(campaign, step, case=case, last=last)
        return Response(body, headers={"Cache-Control": CACHE_HISTORY}, media_type=JSON)

    return routes


def _matches(if_none_match: str, tag: str) -> bool:
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in tags or f'"{tag}"' in tags
