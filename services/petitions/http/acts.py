"""`/v1/acts`: shares, pledges and tasks, as people report them."""

from __future__ import annotations

from fastapi import APIRouter

from services.petitions.domain.requests import ActRequest
from shared.intake.pages import FormPages
from shared.intake.process import IntakeProcess
from shared.intake.submit import SubmitEndpoint
from shared.intake.submit_routes import add_submit_route


def act_routes(process: IntakeProcess, endpoint: SubmitEndpoint[ActRequest], form_pages: FormPages) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["acts"])
    add_submit_route(
        router,
        "/v1/acts",
        endpoint,
        form_pages,
        name="report_act",
        summary="Tell of a share, a pledge or a task",
        description="Counted as self-reported: one of a kind for each person and case.",
        thanks_url=f"{process.base_url}/thanks",
    )
    return router
