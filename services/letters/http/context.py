"""The context of the routes of letters."""

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
from shared.web.pages import Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeContext:
    """The parts of a running intake that its routes use. `now` is the broker's time, in seconds since 1970.

    `form_pages` have the form to write a message, `posted_form_pages` the form to report a posted one.
    """

    settings: LettersSettings
    catalog: Catalog
    write_message: WriteMessage
    messages_endpoint: SubmitEndpoint
    receipts: Receipts
    receipt_status: ReceiptStatus
    pages: Pages
    form_pages: IntakePages
    report_posted: ReportPosted
    posted_endpoint: SubmitEndpoint
    posted_form_pages: IntakePages
    now: Callable[[], float]
