"""`/v1/petitions/{slug}`: the frozen text, as it is signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from services.petitions.http.parts import Parts
from shared.intake.openapi import responses


def petitions(parts: Callable[[], Parts]) -> APIRouter:
    """The route. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["petitions"])

    @router.get("/v1/petitions/{slug}", summary="The text of a petition", responses=responses(404, 503))
    async def petition(slug: str) -> JSONResponse:
        """Answers once signatures can be taken: the petition, its campaign and its keys have arrived."""
        found = parts().signing.find(slug)
        known = parts().catalog
        case, campaign = known.cases[found.case], known.campaigns[found.opening.campaign]
        text = known.petitions[slug].petition
        content: dict[str, Any] = {
            "petition": slug,
            "version": found.version,
            "title": text.title if text else {},
            "text": text.text if text else {},
            "targets": [{"name": target.name, "role": target.role} for target in text.targets] if text else [],
            "case": {"slug": case.slug, "name": case.name, "country": case.country, "status": case.status},
            "campaign": {
                "slug": campaign.slug,
                "version": campaign.version,
                "opens": campaign.opens,
                "closes": campaign.closes,
                "confirmation": campaign.policies.confirmation,
                "languages": campaign.languages,
            },
        }
        return JSONResponse(content, headers={"Cache-Control": "no-cache"})

    return router
