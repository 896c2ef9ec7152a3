"""The status of a receipt, as JSON and for pages."""

from __future__ import annotations

import asyncpg
from starlette.responses import JSONResponse

from shared.clock import rfc3339
from shared.intake.receipt_status import ReceiptStatus, Status
from shared.privacy.receipts import Receipt, Receipts
from shared.refusals import Refusal


def read_receipt(receipts: Receipts, text: str) -> Receipt:
    """Return the contents of the receipt `text`.

    Raises:
        Refusal: 404, it is not one of ours.
    """
    try:
        return receipts.read(text)
    except ValueError:
        raise unknown_receipt() from None


def unknown_receipt() -> Refusal:
    """Return a 404."""
    return Refusal(404, "unknown-receipt", "There is no such receipt.")


async def status_response(receipts: Receipts, receipt_status: ReceiptStatus, text: str) -> JSONResponse:
    """Answer `accepted`, or `counted` once the counter has passed the record, with the time at which that was true.

    Raises:
        Refusal: 404. OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not answer.
    """
    receipt = read_receipt(receipts, text)
    status = await receipt_status.status(receipt.topic, receipt.partition, receipt.offset)
    content = {"status": "counted" if status.counted else "accepted", "as_of": rfc3339(status.as_of)}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


async def status_for_page(receipt_status: ReceiptStatus, receipt: Receipt) -> Status:
    """Return the status of a receipt; while the database is unavailable, not counted."""
    try:
        return await receipt_status.status(receipt.topic, receipt.partition, receipt.offset)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return Status(counted=False, as_of=0.0)
