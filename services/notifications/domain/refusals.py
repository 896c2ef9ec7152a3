"""What an SMTP failure means: try again later, or never; and whether the mailbox, the message or the sender caused it.

Codes and their meaning: RFC 5321, 4.2.1 to 4.2.3 and 3.4; RFC 7504 for 521 and 556; RFC 4954, 6 for those of signing
in. Enhanced status codes: RFC 3463, with what RFC 7505 (5.1.10) and RFC 6531 (5.6.7) added.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import Enum
from typing import Final, NamedTuple


class Status(NamedTuple):
    """The enhanced status code 5.`subject`.`detail`."""

    subject: int
    detail: int


MAILBOX_GONE_CODES: Final = frozenset({521, 550, 551, 553, 556})
"""Refusals of a recipient that concern the address itself, where no enhanced status code says more."""
NO_SUCH_MAILBOX_STATUSES: Final = frozenset(
    {Status(1, 1), Status(1, 2), Status(1, 3), Status(1, 6), Status(1, 10), Status(2, 1)},
)
"""No such mailbox, domain or address; moved without a new address; a domain that takes no mail; a disabled mailbox."""
DELIVERY_NOT_AUTHORIZED: Final = Status(7, 1)
NON_ASCII_NOT_PERMITTED: Final = Status(6, 7)
FIRST_RETRY_DELAY: Final = timedelta(seconds=30)
MAX_RETRY_DELAY: Final = timedelta(hours=1)
GIVE_UP_AFTER: Final = timedelta(days=4)
"""RFC 5321, 4.5.4.1: a sender gives up after four to five days."""
_FIRST_PERMANENT_CODE: Final = 500
_AUTHENTICATION_CODES: Final = frozenset({530, 534, 535, 538})
_SENDER_STATUSES: Final = frozenset({Status(1, 7), Status(1, 8)})
_UNSPECIFIED_SUBJECTS: Final = frozenset({0})
_RECIPIENT_SUBJECTS: Final = frozenset({1, 2, 6})
"""Subjects that concern the address, the mailbox or the content of the message. The others concern systems, networks,
protocols and policies, and the next mail would fail as well.
"""
_STATUS_PATTERN: Final = re.compile(r"(?:^|\(#)5\.(\d{1,3})\.(\d{1,3})(?!\.?\d)", re.MULTILINE)
"""A status at the beginning of a line, or in brackets, as some servers write it."""


class Stage(Enum):
    """The stage of the SMTP dialogue at which it failed."""

    SESSION = "session"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class Failure(Enum):
    """What to do about a failure."""

    RETRY = "retry"
    REFUSED = "refused"
    BOUNCED = "bounced"
    MAILBOX_GONE = "mailbox-gone"


def parse_status(text: str) -> Status | None:
    """Return the enhanced status in the text of a permanent refusal, None where there is none.

    A text that only says in words that the server does not relay for us counts as 5.7.1.
    """
    match = _STATUS_PATTERN.search(text)
    if match is not None:
        return Status(int(match[1]), int(match[2]))
    return DELIVERY_NOT_AUTHORIZED if "relay" in text.lower() else None


def classify_failure(stage: Stage, code: int, status: Status | None = None) -> Failure:
    """Classify the answer `code` at `stage`; 0 is no answer at all.

    A permanent refusal of the session, of our sender or by a policy concerns us, not the recipient: the mail waits
    until an operator mends the cause, and no address is marked as gone.
    """
    if code < _FIRST_PERMANENT_CODE:
        return Failure.RETRY
    if stage is Stage.SESSION or code in _AUTHENTICATION_CODES:
        return Failure.REFUSED
    if status is None or status.subject in _UNSPECIFIED_SUBJECTS or status == Status(1, 0):
        gone = stage is Stage.RECIPIENT and code in MAILBOX_GONE_CODES
        return Failure.MAILBOX_GONE if gone else Failure.BOUNCED
    if status in NO_SUCH_MAILBOX_STATUSES:
        return Failure.MAILBOX_GONE
    return (
        Failure.BOUNCED if status.subject in _RECIPIENT_SUBJECTS and status not in _SENDER_STATUSES else Failure.REFUSED
    )


def retry_delay(attempts: int) -> timedelta:
    """Return how long to wait after the `attempts`-th failed attempt, counted from 1: doubling, an hour at most."""
    return min(FIRST_RETRY_DELAY * (1 << min(attempts - 1, 20)), MAX_RETRY_DELAY)
