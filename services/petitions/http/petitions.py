"""`/v1/petitions/{slug}`: the frozen text, as it is signed."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from services.petitions.actions.sign_petition import SignPetition
from shared.catalog import Catalog
from shared.events.marathon import Target, Texts
from shared.events.values import Confirmation
from shared.http.openapi import json_answer, responses


class PetitionCase(msgspec.Struct, frozen=True):
    """The person or community whom a petition is about."""

    slug: str
    name: str
    country: str
    status: str


class PetitionCampaign(msgspec.Struct, frozen=True):
    """The campaign of a petition, and when it takes signatures."""

    slug: str
    version: int
    opens: str
    closes: str
    confirmation: Confirmation
    languages: tuple[str, ...]


class PetitionAnswer(msgspec.Struct, frozen=True):
    """The text of a petition in its current version."""

    petition: str
    version: int
    title: Texts
    text: Texts
    targets: tuple[Target, ...]
    case: PetitionCase
    campaign: PetitionCampaign


def petition_routes(catalog: Catalog, sign_petition: SignPetition) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["petitions"])

    @router.get(
        "/v1/petitions/{slug}", summary="The text of a petition", responses=responses(404, 503, answer=PetitionAnswer)
    )
    async def read_petition(slug: str) -> Response:
        """Answers once signatures can be taken: the petition, its campaign and its keys have arrived."""
        text, case, terms = sign_petition.find_petition(slug)
        campaign = catalog.campaigns[terms.campaign]
        policies = campaign.policies
        window = (campaign.opens, campaign.closes)
        answer = PetitionAnswer(
            slug,
            text.version,
            text.title,
            text.text,
            text.targets,
            PetitionCase(case.slug, case.name, case.country, case.status),
            PetitionCampaign(campaign.slug, campaign.version, *window, policies.confirmation, campaign.languages),
        )
        return json_answer(answer, {"Cache-Control": "no-cache"})

    return router
