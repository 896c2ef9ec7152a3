"""`/v1/petitions/{slug}`: the frozen text, as it is signed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from services.petitions.actions.sign_petition import SignPetition
from shared.catalog import Catalog
from shared.intake.openapi import responses


def petition_routes(catalog: Catalog, sign_petition: SignPetition) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["petitions"])

    @router.get("/v1/petitions/{slug}", summary="The text of a petition", responses=responses(404, 503))
    async def petition(slug: str) -> JSONResponse:
        """Answers once signatures can be taken: the petition, its campaign and its keys have arrived."""
        text, case, terms = sign_petition.find_petition(slug)
        campaign = catalog.campaigns[terms.campaign]
        content: dict[str, Any] = {
            "petition": slug,
            "version": text.version,
            "title": text.title,
            "text": text.text,
            "targets": [{"name": target.name, "role": target.role} for target in text.targets],
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
