"""`/v1/declarations/{slug}/signatories`: who signed in public, in order."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from services.petitions.actions.sign_petition import SignPetition
from services.petitions.storage.signatories import SealedName, sealed_names
from shared.database import connected
from shared.http.openapi import json_answer, responses
from shared.intake.process import IntakeProcess
from shared.privacy.keys import CampaignKeys

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 500


class Signatory(msgspec.Struct, frozen=True):
    """Somebody who signed in public."""

    given_name: str
    family_name: str


class Signatories(msgspec.Struct, frozen=True):
    """A page of those who signed in public; `next` is the `start` of the page after it, if there is one."""

    petition: str
    signatories: list[Signatory]
    next: int | None


def declaration_routes(process: IntakeProcess, sign_petition: SignPetition) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["petitions"])

    @router.get(
        "/v1/declarations/{slug}/signatories",
        summary="Who signed in public",
        responses=responses(404, 422, 503, answer=Signatories),
    )
    async def list_signatories(
        slug: str,
        start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = DEFAULT_PAGE_SIZE,
    ) -> Response:
        """The names of those who confirmed their signature and agreed to be named, in the order of signing; `next` is
        the `start` of the page after this one.
        """
        _petition, _case, terms = sign_petition.find_petition(slug)
        sealed: list[SealedName] = []
        if not terms.policies.safety_mode:
            async with connected(process.pool) as connection:
                sealed = await sealed_names(connection, slug, start, limit)
        names = [_open_name(name, slug, terms.keys) for name in sealed]
        following = start + limit if len(sealed) == limit else None
        return json_answer(Signatories(slug, names, following), {"Cache-Control": "no-cache"})

    return router


def _open_name(name: SealedName, petition: str, keys: CampaignKeys) -> Signatory:
    person = keys.seal[name.seal_key].open(name.sealed, topic=name.topic, subject=petition, key=name.key)
    return Signatory(person.given_name, person.family_name)
