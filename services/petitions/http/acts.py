"""`/v1/acts`: shares, pledges and tasks, as people tell of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.petitions.domain.requests import ACTS, ActRequest
from services.petitions.http.parts import Parts
from shared.http.service import client_of
from shared.intake import forms
from shared.intake.openapi import RECEIPT, body, responses
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json

OPTIONAL: Final = ("given_name", "family_name", "country", "postcode", "locale", "comment", "source")


def acts(parts: Callable[[], Parts]) -> APIRouter:
    """The route. `parts` gives what a running intake works with."""
    router = APIRouter(tags=["acts"])

    @router.post(
        "/v1/acts",
        status_code=202,
        summary="Tell of a share, a pledge or a task",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT, form=True),
        openapi_extra=body(ActRequest, form=True),
    )
    async def act(request: Request) -> Response:
        """Counted as self-reported: one of a kind for each person and case."""
        if is_form(request):
            return await _act_by_form(parts(), request)
        return await submit_json(request, parts().acts)

    return router


async def _act_by_form(parts: Parts, request: Request) -> Response:
    def decide(typed: Mapping[str, str]) -> OutgoingRecord:
        wanted = ACTS.convert(forms.document(typed, optional=OPTIONAL))
        return parts.acting.act(wanted, client_of(request))

    def case_of(typed: Mapping[str, str]) -> str | None:
        return typed.get("case")

    thanks = f"{parts.settings.petitions_url}/thanks"
    return await submit_form(request, parts.acts, parts.pages, decide=decide, case_of=case_of, thanks=thanks)
