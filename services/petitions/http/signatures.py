"""`/v1/signatures`: sign, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from services.petitions.domain.requests import SignatureRequest
from shared import topics
from shared.events.values import Kind
from shared.intake.pages import FormPages
from shared.intake.process import IntakeProcess
from shared.intake.receipt_routes import add_status_route, add_thanks_route
from shared.intake.submit import SubmitEndpoint
from shared.intake.submit_routes import add_submit_route
from shared.privacy.receipts import Receipt


def signature_routes(
    process: IntakeProcess, endpoint: SubmitEndpoint[SignatureRequest], form_pages: FormPages
) -> APIRouter:
    """Return the routes. The thank-you page is also that of acts."""
    router = APIRouter(tags=["signatures"])
    catalog = process.catalog

    def case_of(values: Mapping[str, str]) -> str | None:
        case = catalog.petitions.get(values.get("petition", ""))
        return case.slug if case is not None else None

    def find_act(receipt: Receipt) -> tuple[str, Kind] | None:
        is_signature = receipt.topic == topics.SIGNATURES.name
        case = (catalog.petitions if is_signature else catalog.cases).get(receipt.subject)
        return (case.slug, "signature" if is_signature else "share") if case is not None else None

    add_submit_route(
        router,
        "/v1/signatures",
        endpoint,
        form_pages,
        name="sign_petition",
        summary="Sign a petition",
        description="Answered once the broker has acknowledged the signature. "
        "Who signs again gets the same kind of answer.",
        thanks_url=f"{process.base_url}/thanks",
        case_of=case_of,
    )
    add_status_route(
        router,
        "/v1/signatures",
        process,
        name="read_signature_receipt",
        summary="What became of a signature",
        description="`accepted`, or `counted` once the counter has passed it. "
        "It tells nobody who signed, or signed before.",
    )
    add_thanks_route(router, "/thanks", process, status_path="/v1/signatures", find_act=find_act)
    return router
