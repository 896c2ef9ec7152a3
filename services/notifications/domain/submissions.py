"""Which submissions get a delivery.

A submission makes none if one of the same act and digest was made in the 24 hours before it, by the broker's time, with
no withdrawal between. An act is one participant's: its key is the dedupe key.
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
    """Somebody acted. `key` is the dedupe key, `digest` names the content, `accepted_at` is the broker's time."""

    key: bytes
    digest: bytes
    offset: int
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The act `key` was taken back."""

    key: bytes
    offset: int


@dataclass(slots=True)
class Made:
    """A delivery that exists. `withdrawn_offset` is where its act was first withdrawn after it, if it was."""

    key: bytes
    digest: bytes
    offset: int
    accepted_at: datetime
    withdrawn_offset: int | None = None

    def stood_at(self, offset: int) -> bool:
        """Whether it had been made before `offset` and not been withdrawn by then."""
        return self.offset < offset and (self.withdrawn_offset is None or self.withdrawn_offset > offset)


class Decision(NamedTuple):
    """A delivery to make. `other_data` marks one whose act is already known with other content: it gets a button of its
    own.
    """

    submitted: Submitted
    other_data: bool


def decide(made: Iterable[Made], events: Iterable[Submitted | Withdrawn]) -> list[Decision]:
    """The deliveries that `events` make, each act's events in offset order.

    `made` are the deliveries that exist of the acts in `events`. Deciding again, from any earlier offset on, decides
    the same: only what stood before a submission counts.
    """
    acts: defaultdict[bytes, dict[bytes, list[Made]]] = defaultdict(dict)
    for one in made:
        acts[one.key].setdefault(one.digest, []).append(one)
    decisions = []
    for event in events:
        contents = acts[event.key]
        if isinstance(event, Withdrawn):
            _withdraw(contents, event.offset)
        elif not _repeats(contents.get(event.digest, ()), event):
            decisions.append(Decision(event, _is_other_data(contents, event)))
            contents.setdefault(event.digest, []).append(
                Made(event.key, event.digest, event.offset, event.accepted_at),
            )
    return decisions


def _repeats(same: Iterable[Made], event: Submitted) -> bool:
    since = event.accepted_at - REPEATED_WITHIN
    return any(one.accepted_at >= since and one.stood_at(event.offset) for one in same)


def _is_other_data(contents: dict[bytes, list[Made]], event: Submitted) -> bool:
    return any(
        digest != event.digest and any(one.stood_at(event.offset) for one in deliveries)
        for digest, deliveries in contents.items()
    )


def _withdraw(contents: dict[bytes, list[Made]], offset: int) -> None:
    for deliveries in contents.values():
        for one in deliveries:
            if one.stood_at(offset):
                one.withdrawn_offset = offset
