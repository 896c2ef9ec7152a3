"""Which submissions get a delivery.

A submission gets none if one of the same act, digest and address was made in the 24 hours before it, by the broker's
time, with no withdrawal between, unless that one had ended without a mail by then. An act belongs to one participant:
its key is the dedupe key, the same for every spelling of an address. A mail goes only to the spelling that it is about,
so each spelling has deliveries of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

REPEAT_PERIOD: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Submitted:
    """An act was submitted.

    `key` is the dedupe key, `digest` that of the content, `address` the key of the address as it was typed, and
    `accepted_at` the broker's time.
    """

    key: bytes
    digest: bytes
    address: bytes
    offset: int
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The act `key` was withdrawn."""

    key: bytes
    offset: int


@dataclass(slots=True)
class ExistingDelivery:
    """A delivery that exists. `address` is None in older rows, and then matches any address.

    `withdrawn_offset` is the offset of the first withdrawal of its act after it. `left_at` is when it ended without a
    mail: suppressed, bounced, given up. Both are None otherwise.
    """

    key: bytes
    digest: bytes
    address: bytes | None
    offset: int
    accepted_at: datetime
    withdrawn_offset: int | None = None
    left_at: datetime | None = None

    def active_at(self, offset: int) -> bool:
        """Whether it was made before `offset` and had not been withdrawn by then."""
        return self.offset < offset and (self.withdrawn_offset is None or self.withdrawn_offset > offset)

    def active_before(self, event: Submitted) -> bool:
        """Whether it was active when `event` was accepted, and had not ended without a mail by then."""
        return self.active_at(event.offset) and (self.left_at is None or self.left_at > event.accepted_at)


class ActVersion(NamedTuple):
    """The content of an act and the address that it came with."""

    digest: bytes
    address: bytes | None


DeliveriesByVersion = dict[ActVersion, list[ExistingDelivery]]


class Decision(NamedTuple):
    """A delivery to make. `other_data` marks one whose act is already known with other content, or with another
    spelling of the address: it gets a button of its own.
    """

    submission: Submitted
    other_data: bool


def decide(existing: Iterable[ExistingDelivery], events: Iterable[Submitted | Withdrawn]) -> list[Decision]:
    """Return the deliveries to make for `events`; the events of each act are in offset order.

    `existing` are the deliveries of the acts in `events`. A replay from any earlier offset decides the same, because
    only deliveries from before a submission count.
    """
    by_act: defaultdict[bytes, DeliveriesByVersion] = defaultdict(dict)
    for delivery in existing:
        by_act[delivery.key].setdefault(ActVersion(delivery.digest, delivery.address), []).append(delivery)
    decisions = []
    for event in events:
        by_version = by_act[event.key]
        if isinstance(event, Withdrawn):
            _withdraw(by_version, event.offset)
        elif not _is_repeat(by_version, event):
            decisions.append(Decision(event, _is_other_data(by_version, event)))
            by_version.setdefault(ActVersion(event.digest, event.address), []).append(
                ExistingDelivery(event.key, event.digest, event.address, event.offset, event.accepted_at),
            )
    return decisions


def _is_repeat(by_version: DeliveriesByVersion, event: Submitted) -> bool:
    since = event.accepted_at - REPEAT_PERIOD
    return any(
        delivery.accepted_at >= since and delivery.active_before(event)
        for version in _same_versions(event)
        for delivery in by_version.get(version, ())
    )


def _is_other_data(by_version: DeliveriesByVersion, event: Submitted) -> bool:
    same_versions = _same_versions(event)
    return any(
        version not in same_versions and any(delivery.active_before(event) for delivery in deliveries)
        for version, deliveries in by_version.items()
    )


def _same_versions(event: Submitted) -> tuple[ActVersion, ActVersion]:
    return ActVersion(event.digest, event.address), ActVersion(event.digest, None)


def _withdraw(by_version: DeliveriesByVersion, offset: int) -> None:
    for deliveries in by_version.values():
        for delivery in deliveries:
            if delivery.active_at(offset):
                delivery.withdrawn_offset = offset
