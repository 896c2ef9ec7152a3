"""What became of a receipt, as JSON and for pages."""

from __future__ import annotations

import asyncpg
from starlette.responses import JSONResponse

from shared.clock import rfc3339
from shared.intake.receipt_status import ReceiptStatus, Status
from shared.privacy.receipts import Receipt, Receipts
from shared.refusals import Refusal


def read_receipt(receipts: Receipts, text: str) -> Receipt:
    """What the receipt `text` says.

    Raises:
        Refusal: 404, it is none of ours.
    """
    try:
        return receipts.read(text)
    except ValueError:
        raise unknown_receipt() from None


def unknown_receipt() -> Refusal:
    """A 404."""
    return Refusal(404, "unknown-receipt", "There is no such receipt.")


async def status_answer(receipts: Receipts, counted: ReceiptStatus, text: str) -> JSONResponse:
    """`accepted`, or `counted` once the counter has passed it, with the time of which that is true.

    Raises:
        Refusal: 404. OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not answer.
    """
    receipt = read_receipt(receipts, text)
    state = await counted.status(receipt.topic, receipt.partition, receipt.offset)
    content = {"status": "counted" if state.counted else "accepted", "as_of": rfc3339(state.as_of)}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


async def state_for_page(counted: ReceiptStatus, receipt: Receipt) -> Status:
    """The state of a receipt; while the database is away, what is true in any case."""
    try:
        return await counted.status(receipt.topic, receipt.partition, receipt.offset)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return Status(counted=False, as_of=0.0)
