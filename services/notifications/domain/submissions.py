"""Which submissions get a delivery.

A submission makes none if one of the same act, digest and address was made in the 24 hours before it, by the broker's
time, with no withdrawal between, unless that one was left without a mail by then. An act is one participant's: its key
is the dedupe key, the same for every spelling of an address. A mail goes only to the spelling that it is about, so each
spelling has deliveries of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

REPEATED_WITHIN: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Submitted:
    """Somebody acted.

    `key` is the dedupe key, `digest` names the content, `address` the address as it was typed, `accepted_at` is the
    broker's time.
    """

    key: bytes
    digest: bytes
    address: bytes
    offset: int
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The act `key` was taken back."""

    key: bytes
    offset: int


@dataclass(slots=True)
class Made:
    """A delivery that exists. `address` is None where none was kept yet: any is taken for the same.

    `withdrawn_offset` is where its act was first withdrawn after it, if it was. `left_at` is when it was left without a
    mail, if it was: suppressed, bounced, given up.
    """

    key: bytes
    digest: bytes
    address: bytes | None
    offset: int
    accepted_at: datetime
    withdrawn_offset: int | None = None
    left_at: datetime | None = None

    def stood_at(self, offset: int) -> bool:
        """Whether it had been made before `offset` and not been withdrawn by then."""
        return self.offset < offset and (self.withdrawn_offset is None or self.withdrawn_offset > offset)

    def stood_before(self, event: Submitted) -> bool:
        """Whether it stood when `event` was accepted, and had not been left by then."""
        return self.stood_at(event.offset) and (self.left_at is None or self.left_at > event.accepted_at)


class Content(NamedTuple):
    """What was said of an act, and the address that it came with."""

    digest: bytes
    address: bytes | None


Contents = dict[Content, list[Made]]


class Decision(NamedTuple):
    """A delivery to make. `other_data` marks one whose act is already known with other content, or with another
    spelling of the address: it gets a button of its own.
    """

    submitted: Submitted
    other_data: bool


def decide(made: Iterable[Made], events: Iterable[Submitted | Withdrawn]) -> list[Decision]:
    """The deliveries that `events` make, each act's events in offset order.

    `made` are the deliveries that exist of the acts in `events`. Deciding again, from any earlier offset on, decides
    the same: only what stood before a submission counts.
    """
    acts: defaultdict[bytes, Contents] = defaultdict(dict)
    for one in made:
        acts[one.key].setdefault(Content(one.digest, one.address), []).append(one)
    decisions = []
    for event in events:
        contents = acts[event.key]
        if isinstance(event, Withdrawn):
            _withdraw(contents, event.offset)
        elif not _repeats(contents, event):
            decisions.append(Decision(event, _is_other_data(contents, event)))
            contents.setdefault(Content(event.digest, event.address), []).append(
                Made(event.key, event.digest, event.address, event.offset, event.accepted_at),
            )
    return decisions


def _repeats(contents: Contents, event: Submitted) -> bool:
    since = event.accepted_at - REPEATED_WITHIN
    return any(
        one.accepted_at >= since and one.stood_before(event) for same in _same(event) for one in contents.get(same, ())
    )


def _is_other_data(contents: Contents, event: Submitted) -> bool:
    same = _same(event)
    return any(
        content not in same and any(one.stood_before(event) for one in deliveries)
        for content, deliveries in contents.items()
    )


def _same(event: Submitted) -> tuple[Content, Content]:
    return Content(event.digest, event.address), Content(event.digest, None)


def _withdraw(contents: Contents, offset: int) -> None:
    for deliveries in contents.values():
        for one in deliveries:
            if one.stood_at(offset):
                one.withdrawn_offset = offset
