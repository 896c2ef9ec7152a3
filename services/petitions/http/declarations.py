"""`/v1/declarations/{slug}/signatories`: who signed in public, in order."""

from __future__ import annotations

import struct
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from services.petitions.actions.sign_petition import SignPetition
from services.petitions.storage.signatories import FIRST, SealedName, SignedAt, sealed_names
from shared import base64url
from shared.database import connected
from shared.events.cloudevents import DECODE_ERRORS
from shared.http.openapi import json_answer, responses
from shared.intake.process import IntakeProcess
from shared.logging import log
from shared.privacy.keys import CampaignKeys
from shared.refusals import FieldError, invalid

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 500
_CURSOR: Final = struct.Struct(">qhq")
"""The fields of a `SignedAt`."""


class Signatory(msgspec.Struct, frozen=True):
    """Somebody who signed in public."""

    given_name: str
    family_name: str


class Signatories(msgspec.Struct, frozen=True):
    """A page of those who signed in public; `next` is the `after` of the page after it, if there is one."""

    petition: str
    signatories: list[Signatory]
    next: str | None


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
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = DEFAULT_PAGE_SIZE,
    ) -> Response:
        """The names of those who confirmed their signature and agreed to be named, in the order of signing; `next` is
        the `after` of the page after this one.
        """
        _petition, _case, terms = sign_petition.find_petition(slug)
        place, sealed = _parse_cursor(after), []
        if not terms.policies.safety_mode:
            async with connected(process.pool) as connection:
                sealed = await sealed_names(connection, slug, place, limit)
        names = [name for each in sealed if (name := _open_name(each, slug, terms.keys))]
        following = base64url.encode(_CURSOR.pack(*sealed[-1].signed_at)) if len(sealed) == limit else None
        return json_answer(Signatories(slug, names, following), {"Cache-Control": "no-cache"})

    return router


def _parse_cursor(text: str) -> SignedAt:
    """Return where the last page ended, as its `next` says.

    Raises:
        Refusal: `text` is no `next` of ours.
    """
    try:
        return SignedAt(*_CURSOR.unpack(base64url.decode(text))) if text else FIRST
    except (ValueError, struct.error):
        raise invalid([FieldError("/after", "after.unknown")]) from None


def _open_name(name: SealedName, petition: str, keys: CampaignKeys) -> Signatory | None:
    """Return a name as it is shown; None where it cannot be opened, so that one name does not hide all the others."""
    try:
        person = keys.seal[name.seal_key].open(name.sealed, topic=name.topic, subject=petition, key=name.key)
    except (KeyError, ValueError, *DECODE_ERRORS):
        log.error("a signatory's name cannot be opened", **name.signed_at._asdict())
        return None
    return Signatory(person.given_name, person.family_name)
