"""`/v1/acts`: shares, pledges and tasks, as people report them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.petitions.domain.requests import ACTS, ActRequest
from services.petitions.http.context import IntakeContext
from shared.http.service import resolve_client
from shared.intake import forms
from shared.intake.openapi import RECEIPT_SCHEMA, request_body, responses
from shared.intake.submit import OutgoingRecord
from shared.intake.submit_routes import is_form, submit_form, submit_json

OPTIONAL_FIELDS: Final = ("given_name", "family_name", "country", "postcode", "locale", "comment", "source")


def act_routes(get_context: Callable[[], IntakeContext]) -> APIRouter:
    """Return the route; `get_context` is called for each request."""
    router = APIRouter(tags=["acts"])

    @router.post(
        "/v1/acts",
        status_code=202,
        summary="Tell of a share, a pledge or a task",
        responses=responses(400, 404, 410, 413, 415, 422, 503, accepted=RECEIPT_SCHEMA, form=True),
        openapi_extra=request_body(ActRequest, form=True),
    )
    async def act(request: Request) -> Response:
        """Counted as self-reported: one of a kind for each person and case."""
        if is_form(request):
            return await _act_by_form(get_context(), request)
        return await submit_json(request, get_context().acts_endpoint)

    return router


async def _act_by_form(context: IntakeContext, request: Request) -> Response:
    def build_from_form(values: Mapping[str, str]) -> OutgoingRecord:
        act = ACTS.convert(forms.to_document(values, optional=OPTIONAL_FIELDS))
        return context.record_act.build_record(act, resolve_client(request))

    def case_of(values: Mapping[str, str]) -> str | None:
        return values.get("case")

    thanks_url = f"{context.settings.petitions_url}/thanks"
    return await submit_form(
        request,
        context.acts_endpoint,
        context.form_pages,
        build_from_form=build_from_form,
        case_of=case_of,
        thanks_url=thanks_url,
    )
