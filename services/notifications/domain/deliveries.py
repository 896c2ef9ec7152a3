"""Which events get a delivery of a mailing, and which repeat one that has it.

An event gets none if a delivery of the same act, digest and address was made in the 24 hours before it, by the broker's
time, with no withdrawal between, unless that one had ended without a mail by then. An act belongs to one participant:
its key is the dedupe key, the same for every spelling of an address. A mail goes only to the spelling that it is about,
so each spelling has deliveries of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Final, NamedTuple

REPEAT_PERIOD: Final = timedelta(hours=24)


class NewDelivery(NamedTuple):
    """A delivery that an event may get; fields as in the table `deliveries`.

    `key` is the dedupe key of the act, `digest` that of its content, `address` the key of the address as it was typed,
    and `accepted_at` the broker's time. `other_data` marks one whose act is already known with other content, or with
    another spelling of the address: it gets a button of its own. `network` is kept as long as `sealed`.
    """

    topic: str
    partition: int
    offset: int
    recipient: bytes
    address: bytes
    campaign: str
    case: str
    subject: str
    kind: str
    key: bytes
    digest: bytes
    other_data: bool
    accepted_at: datetime
    locale: str
    sealed: bytes
    seal_key: int
    network: str | None


class ActEvent(NamedTuple):
    """An event about the act `key`, at the broker's time `at`. `digest` is that of the content that it is about, empty
    for a withdrawal, which is about every content.
    """

    topic: str
    partition: int
    offset: int
    key: bytes
    at: datetime
    digest: bytes = b""


@dataclass(slots=True)
class ExistingDelivery:
    """A delivery that exists.

    `withdrawn_offset` is the offset of the first withdrawal of its act after it. `left_at` is when it ended without a
    mail: suppressed, bounced, given up. Both are None otherwise.
    """

    key: bytes
    digest: bytes
    address: bytes
    offset: int
    accepted_at: datetime
    withdrawn_offset: int | None = None
    left_at: datetime | None = None

    def active_at(self, offset: int) -> bool:
        """Whether it was made before `offset` and had not been withdrawn by then."""
        return self.offset < offset and (self.withdrawn_offset is None or self.withdrawn_offset > offset)

    def active_before(self, event: NewDelivery) -> bool:
        """Whether it was active when `event` was accepted, and had not ended without a mail by then."""
        return self.active_at(event.offset) and (self.left_at is None or self.left_at > event.accepted_at)


Version = tuple[bytes, bytes]
"""The digest of an act's content, and the key of the address that it came with."""


def decide(existing: Iterable[ExistingDelivery], events: Iterable[NewDelivery | ActEvent]) -> list[NewDelivery]:
    """Return the deliveries to make of those in `events`; its other members are withdrawals.

    The events of each act are in offset order, and `existing` are its deliveries. A replay from any earlier offset
    decides the same, because only deliveries from before an event count.
    """
    by_act: defaultdict[bytes, defaultdict[Version, list[ExistingDelivery]]] = defaultdict(lambda: defaultdict(list))
    for delivery in existing:
        by_act[delivery.key][delivery.digest, delivery.address].append(delivery)
    decided = []
    for event in events:
        by_version = by_act[event.key]
        if isinstance(event, ActEvent):
            for delivery in chain.from_iterable(by_version.values()):
                if delivery.active_at(event.offset):
                    delivery.withdrawn_offset = event.offset
            continue
        version = event.digest, event.address
        if not _is_repeat(by_version[version], event):
            decided.append(event._replace(other_data=_is_other_data(by_version, version, event)))
            by_version[version].append(
                ExistingDelivery(event.key, event.digest, event.address, event.offset, event.accepted_at),
            )
    return decided


def _is_repeat(same_version: Iterable[ExistingDelivery], event: NewDelivery) -> bool:
    since = event.accepted_at - REPEAT_PERIOD
    return any(delivery.accepted_at >= since and delivery.active_before(event) for delivery in same_version)


def _is_other_data(
    by_version: Mapping[Version, Iterable[ExistingDelivery]], version: Version, event: NewDelivery
) -> bool:
    return any(
        other != version and any(delivery.active_before(event) for delivery in deliveries)
        for other, deliveries in by_version.items()
    )
