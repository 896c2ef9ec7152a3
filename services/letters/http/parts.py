"""What the routes of letters work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.letters.actions.report_posted import Posting
from services.letters.actions.write_message import Writing
from services.letters.settings import LettersSettings
from shared.catalog import Catalog
from shared.intake.pages import IntakePages
from shared.intake.receipt_status import Counted
from shared.intake.submit import Taking
from shared.privacy.receipts import Receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a running intake. `now` is the broker's time, in seconds since 1970.

    `pages` hold the form to write, `posted_pages` the one to tell of what was posted.
    """

    settings: LettersSettings
    catalog: Catalog
    writing: Writing
    messages: Taking
    receipts: Receipts
    counted: Counted
    pages: IntakePages
    posting: Posting
    posted: Taking
    posted_pages: IntakePages
    now: Callable[[], float]
