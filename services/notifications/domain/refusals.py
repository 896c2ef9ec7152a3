"""What an SMTP failure means: try again later, or never.

Codes and their meaning: RFC 5321, 4.2.1 to 4.2.3 and 3.4; RFC 7504 for 521 and 556.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Final

MAILBOX_GONE: Final = frozenset({521, 550, 551, 553, 556})
"""Refusals of a recipient that speak of the address itself, not of the message or of the moment."""
FIRST_RETRY: Final = timedelta(seconds=30)
LONGEST_RETRY: Final = timedelta(hours=1)
GIVE_UP_AFTER: Final = timedelta(days=4)
"""RFC 5321, 4.5.4.1: a sender gives up after four to five days."""
_PERMANENT: Final = 500


class Stage(Enum):
    """How far the conversation had come when it failed."""

    SESSION = "session"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class Failure(Enum):
    """What to do about it."""

    RETRY = "retry"
    BOUNCED = "bounced"
    MAILBOX_GONE = "mailbox-gone"


def failure(stage: Stage, code: int) -> Failure:
    """What the answer `code` at `stage` means; 0 is no answer at all.

    A permanent refusal of the session or of our sender is a mistake in our settings: the mail waits until it is mended.
    """
    if code < _PERMANENT or stage is Stage.SESSION:
        return Failure.RETRY
    if stage is Stage.RECIPIENT and code in MAILBOX_GONE:
        return Failure.MAILBOX_GONE
    return Failure.BOUNCED


def retry_after(attempts: int) -> timedelta:
    """How long to wait after the `attempts`-th failed attempt, counted from 1: doubling, an hour at most."""
    return min(FIRST_RETRY * (1 << min(attempts - 1, 20)), LONGEST_RETRY)
