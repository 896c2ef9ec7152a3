"""What the routes of letters work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.letters.actions.report_posted import ReportPosted
from services.letters.actions.write_message import WriteMessage
from services.letters.settings import LettersSettings
from shared.catalog import Catalog
from shared.intake.pages import IntakePages
from shared.intake.receipt_status import ReceiptStatus
from shared.intake.submit import SubmitEndpoint
from shared.privacy.receipts import Receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a running intake. `now` is the broker's time, in seconds since 1970.

    `pages` hold the form to write, `posted_pages` the one to tell of what was posted.
    """

    settings: LettersSettings
    catalog: Catalog
    writing: WriteMessage
    messages: SubmitEndpoint
    receipts: Receipts
    counted: ReceiptStatus
    pages: IntakePages
    posting: ReportPosted
    posted: SubmitEndpoint
    posted_pages: IntakePages
    now: Callable[[], float]
