"""What an SMTP failure means: try again later, or never; and whether it speaks of the mailbox, the message, or of us.

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


MAILBOX_GONE: Final = frozenset({521, 550, 551, 553, 556})
"""Refusals of a recipient that speak of the address itself, where no enhanced status code says more."""
NO_SUCH_MAILBOX: Final = frozenset(
    {Status(1, 1), Status(1, 2), Status(1, 3), Status(1, 6), Status(1, 10), Status(2, 1)},
)
"""No such mailbox, domain or address; moved and left no other; a domain that takes no mail; a mailbox shut."""
NOT_DELIVERED_HERE: Final = Status(7, 1)
NOT_IN_ASCII: Final = Status(6, 7)
FIRST_RETRY: Final = timedelta(seconds=30)
LONGEST_RETRY: Final = timedelta(hours=1)
GIVE_UP_AFTER: Final = timedelta(days=4)
"""RFC 5321, 4.5.4.1: a sender gives up after four to five days."""
_PERMANENT: Final = 500
_TO_SIGN_IN: Final = frozenset({530, 534, 535, 538})
_OUR_ADDRESS: Final = frozenset({Status(1, 7), Status(1, 8)})
_UNSAID: Final = frozenset({0})
_THEIRS: Final = frozenset({1, 2, 6})
"""Subjects that speak of the address, the mailbox or what the message holds. The others are of systems, networks,
protocols and policies: the next mail would fare alike.
"""
_STATUS: Final = re.compile(r"(?:^|\(#)5\.(\d{1,3})\.(\d{1,3})(?!\.?\d)", re.MULTILINE)
"""Where a status stands: at the beginning, or as some servers have it, in brackets."""


class Stage(Enum):
    """How far the conversation had come when it failed."""

    SESSION = "session"
    RECIPIENT = "recipient"
    MESSAGE = "message"


class Failure(Enum):
    """What to do about it."""

    RETRY = "retry"
    REFUSED = "refused"
    BOUNCED = "bounced"
    MAILBOX_GONE = "mailbox-gone"


def status_of(text: str) -> Status | None:
    """The enhanced status in what a server said with a permanent refusal; None where it gave none.

    One that only says in words that it does not relay for us is taken to have said so in numbers.
    """
    found = _STATUS.search(text)
    if found is not None:
        return Status(int(found[1]), int(found[2]))
    return NOT_DELIVERED_HERE if "relay" in text.lower() else None


def failure(stage: Stage, code: int, status: Status | None = None) -> Failure:
    """What the answer `code` at `stage` means; 0 is no answer at all.

    A permanent refusal of the session, of our sender or by a policy is about us, not about whom we write to: the mail
    waits until it is mended, and nobody's address is blamed for it.
    """
    if code < _PERMANENT:
        return Failure.RETRY
    if stage is Stage.SESSION or code in _TO_SIGN_IN:
        return Failure.REFUSED
    if status is None or status.subject in _UNSAID or status == Status(1, 0):
        gone = stage is Stage.RECIPIENT and code in MAILBOX_GONE
        return Failure.MAILBOX_GONE if gone else Failure.BOUNCED
    if status in NO_SUCH_MAILBOX:
        return Failure.MAILBOX_GONE
    return Failure.BOUNCED if status.subject in _THEIRS and status not in _OUR_ADDRESS else Failure.REFUSED


def retry_after(attempts: int) -> timedelta:
    """How long to wait after the `attempts`-th failed attempt, counted from 1: doubling, an hour at most."""
    return min(FIRST_RETRY * (1 << min(attempts - 1, 20)), LONGEST_RETRY)
