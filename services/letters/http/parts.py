"""What the routes of letters work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.letters.actions.write import Writing
from services.letters.settings import LettersSettings
from shared.catalog import Catalog
from shared.intake.counted import Counted
from shared.intake.pages import IntakePages
from shared.intake.taking import Taking
from shared.privacy.receipts import Receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a running intake. `now` is the broker's time, in seconds since 1970."""

    settings: LettersSettings
    catalog: Catalog
    writing: Writing
    messages: Taking
    receipts: Receipts
    counted: Counted
    pages: IntakePages
    now: Callable[[], float]
