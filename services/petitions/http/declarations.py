"""`/v1/declarations/{slug}/signatories`: who signed in public, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from services.petitions.http.parts import Parts
from services.petitions.storage.signatories import SealedName, sealed_names
from shared.database import connected
from shared.intake.openapi import responses
from shared.privacy.keys import CampaignKeys

PAGE = 100
LARGEST_PAGE = 500


def declarations(parts: Callable[[], Parts]) -> APIRouter:
    """The route. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["petitions"])

    @router.get(
        "/v1/declarations/{slug}/signatories", summary="Who signed in public", responses=responses(404, 422, 503)
    )
    async def signatories(
        slug: str,
        start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = PAGE,
    ) -> JSONResponse:
        """The names of those who confirmed their signature and agreed to be named, in the order of signing; `next` is
        the `start` of the page after this one.
        """
        known = parts()
        opening = known.signing.find(slug).opening
        found: list[SealedName] = []
        if not opening.policies.safety_mode:
            async with connected(known.pool) as connection:
                found = await sealed_names(connection, slug, start, limit)
        content: dict[str, Any] = {
            "petition": slug,
            "signatories": [_named(name, slug, opening.keys) for name in found],
            "next": start + limit if len(found) == limit else None,
        }
        return JSONResponse(content, headers={"Cache-Control": "no-cache"})

    return router


def _named(name: SealedName, petition: str, keys: CampaignKeys) -> dict[str, str]:
    person = keys.seal[name.seal_key].open(name.sealed, topic=name.topic, subject=petition, key=name.key)
    return {"given_name": person.given_name, "family_name": person.family_name}
