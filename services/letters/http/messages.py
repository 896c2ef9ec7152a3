"""`/v1/messages`: write, by JSON or by a plain form, and ask what became of a receipt."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from services.letters.domain.requests import MessageRequest
from shared.events.values import Kind
from shared.intake.pages import FormPages
from shared.intake.process import IntakeProcess
from shared.intake.receipt_routes import add_status_route, add_thanks_route
from shared.intake.submit import SubmitEndpoint
from shared.intake.submit_routes import add_submit_route
from shared.privacy.receipts import Receipt

MESSAGES_PATH: Final = "/v1/messages"
THANKS_PATH: Final = "/letters/thanks"


def message_routes(
    process: IntakeProcess, endpoint: SubmitEndpoint[MessageRequest], form_pages: FormPages
) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["messages"])
    add_submit_route(
        router,
        MESSAGES_PATH,
        endpoint,
        form_pages,
        name="write_message",
        summary="Write a letter, postcard, drawing or solidarity message",
        description="Answered once the broker has acknowledged the message. The same text twice is one message, "
        "unless each has\nan Idempotency-Key of its own.",
        thanks_url=process.base_url + THANKS_PATH,
    )
    add_status_route(
        router,
        MESSAGES_PATH,
        process,
        name="read_message_receipt",
        summary="What became of a message",
        description="`accepted`, or `counted` once the counter has passed it.",
    )
    add_letter_thanks(router, THANKS_PATH, process)
    return router


def add_letter_thanks(router: APIRouter, path: str, process: IntakeProcess, *, posted: bool = False) -> None:
    """Add the thank-you page of a letter that was written here or, if `posted`, by its sender."""

    def find_act(receipt: Receipt) -> tuple[str, Kind] | None:
        return (receipt.subject, "letter") if receipt.subject in process.catalog.cases else None

    add_thanks_route(router, path, process, status_path=MESSAGES_PATH, find_act=find_act, posted=posted)
