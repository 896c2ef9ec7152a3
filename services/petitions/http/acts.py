"""`/v1/acts`: shares, pledges and tasks, as people report them."""

from __future__ import annotations

from fastapi import APIRouter

from services.petitions.domain.requests import ActRequest
from shared.intake.pages import IntakePages
from shared.intake.submit import SubmitEndpoint
from shared.intake.submit_routes import add_submit_route


def act_routes(endpoint: SubmitEndpoint[ActRequest], form_pages: IntakePages, base_url: str) -> APIRouter:
    """Return the route, whose thank-you pages are under `base_url`."""
    router = APIRouter(tags=["acts"])
    add_submit_route(
        router,
        "/v1/acts",
        endpoint,
        form_pages,
        name="act",
        summary="Tell of a share, a pledge or a task",
        description="Counted as self-reported: one of a kind for each person and case.",
        thanks_url=f"{base_url}/thanks",
    )
    return router
