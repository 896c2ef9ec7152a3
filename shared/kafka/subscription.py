"""Low-rate consumers: typed functions that are called with the events of topics.

```
subscription = Subscription(group="letters.follow-journeys", name="journeys")

@subscription.handler(LetterPosted, topics.JOURNEYS)
async def record_posting(connection: asyncpg.Connection, event: Event[LetterPosted]) -> None: ...
```

A handler runs in the transaction that moves the position of its partition (`subscription_reader` reads, retries and
seeks). It never commits and never publishes: what it tells others goes through the outbox. What it raises decides:
PermanentError makes the record a dead letter, TransientError is retried for as long as it takes, HaltError stops the
partition and alarms. Errors of PostgreSQL that say that a value cannot be stored are permanent too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

import asyncpg
import msgspec

from shared.errors import PermanentError
from shared.events.classes import EVENTS
from shared.events.cloudevents import DECODE_ERRORS, ORIGIN_GROUP_HEADER, ORIGIN_HEADER, parse_event_type
from shared.kafka.dead_letters import dead_letter
from shared.kafka.outbox import put_outbox
from shared.kafka.records import PartitionBatch, Record
from shared.outages import DATA_ERRORS
from shared.topics import Topic, dead_letter_topic

SUPPORTED_MAJOR: Final = 1
NOT_STORABLE: Final = "not-storable"
"""The reason of a dead letter that PostgreSQL cannot store."""

_REFUSALS: Final[tuple[type[Exception], ...]] = (PermanentError, *DATA_ERRORS)

T = TypeVar("T", bound=msgspec.Struct)


class Event(NamedTuple, Generic[T]):
    """An event, and the record that carried it on `partition` of `topic`."""

    topic: str
    partition: int
    record: Record
    data: T


class Unreadable(NamedTuple):
    """A record that is no event of the declared class; `reason` is a short kebab-case word."""

    topic: str
    partition: int
    record: Record
    reason: str


Delivery = Event[T] | Unreadable
AfterCommit = Callable[[], None]
EventHandler = Callable[[asyncpg.Connection, Event[T]], Awaitable[None]]
BatchHandler = Callable[[asyncpg.Connection, Sequence[Delivery[T]]], Awaitable[AfterCommit | None]]


class Declaration(NamedTuple):
    """The handlers of one topic, by event type; `batch` handles all of its records together instead."""

    topic: Topic
    decoders: dict[str, Callable[[bytes], Any]]
    handlers: dict[str, EventHandler[Any]]
    batch: BatchHandler[Any] | None = None


@dataclass(slots=True)
class Applied:
    """The result of handling the first `handled` records of a batch. `refused` has the reason of each dead letter among
    them, by its offset.
    """

    handled: int
    refused: dict[int, str] = field(default_factory=dict)
    after_commit: AfterCommit | None = None


class Subscription:
    """The consumers of one consumer group. `name` is what readiness and logs call what they read."""

    def __init__(self, *, group: str, name: str) -> None:
        self.group = group
        self.name = name
        self.declarations: dict[str, Declaration] = {}
        self.prepare: Callable[[asyncpg.Connection], Awaitable[None]] | None = None
        """Called once, in a transaction, before anything is read."""
        self.examine: Callable[[asyncpg.Connection], Awaitable[Mapping[str, str]]] | None = None
        """Called every few seconds; returns what is degraded, by part."""

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that are read."""
        return tuple(declaration.topic for declaration in self.declarations.values())

    @property
    def dead_letter_topics(self) -> tuple[Topic, ...]:
        """The dead-letter topics that are written."""
        return tuple(dead_letter_topic(each.topic) for each in self.declarations.values() if each.batch is None)

    def handler(self, event_class: type[T], *topics: Topic) -> Callable[[EventHandler[T]], EventHandler[T]]:
        """Declare the decorated function as the handler of `event_class` on `topics`, one event at a time.

        Other event types on these topics are passed over; a record that cannot be read is a dead letter.
        """

        def declare(function: EventHandler[T]) -> EventHandler[T]:
            for topic in topics:
                declaration = self.declarations.setdefault(topic.name, Declaration(topic, {}, {}))
                for name, decode in _decoders(event_class, topic).items():
                    declaration.decoders[name], declaration.handlers[name] = decode, function
            return function

        return declare

    def batch(self, event_class: type[T], *topics: Topic) -> Callable[[BatchHandler[T]], BatchHandler[T]]:
        """Declare the decorated function as the handler of all records of `topics`, those of a partition together.

        It gets the unreadable ones and those of other event types too, as `Unreadable`. Nothing becomes a dead letter:
        a PermanentError halts the partition. It may return a function to call after the commit.
        """

        def declare(function: BatchHandler[T]) -> BatchHandler[T]:
            for topic in topics:
                self.declarations[topic.name] = Declaration(topic, _decoders(event_class, topic), {}, function)
            return function

        return declare

    async def apply(self, connection: asyncpg.Connection, batch: PartitionBatch) -> Applied:
        """Handle the records of `batch` in the caller's transaction, at least the first.

        Raises:
            Exception: the handler raised it for the first record; nothing was handled.
        """
        declaration = self.declarations[batch.topic]
        if declaration.batch is not None:
            own = [record for record in batch.records if not self._is_foreign(record)]
            deliveries = [self._decode(declaration, batch, record) for record in own]
            after_commit = await declaration.batch(connection, deliveries) if deliveries else None
            return Applied(len(batch.records), after_commit=after_commit)
        applied = Applied(0)
        for record in batch.records:
            try:
                async with connection.transaction():
                    await self._handle(connection, declaration, batch, record)
            except _REFUSALS as error:
                reason = error.reason if isinstance(error, PermanentError) else NOT_STORABLE
                applied.refused[record.offset] = reason
                letter = dead_letter(self.group, batch.topic, batch.partition, record, reason)
                await put_outbox(connection, [letter])
            except Exception:
                if applied.handled == 0:
                    raise
                # What was handled is committed; this record comes again, and first.
                break
            applied.handled += 1
        return applied

    async def _handle(
        self, connection: asyncpg.Connection, declaration: Declaration, batch: PartitionBatch, record: Record
    ) -> None:
        if self._is_foreign(record):
            return
        event_type = parse_event_type(record.headers)
        if event_type.name in declaration.handlers:
            event = self._decode(declaration, batch, record)
            if isinstance(event, Unreadable):
                raise PermanentError(event.reason)
            await declaration.handlers[event_type.name](connection, event)

    def _is_foreign(self, record: Record) -> bool:
        """Whether `record` was redriven for another group: this one has handled it where it stood first."""
        headers = dict(record.headers)
        return ORIGIN_HEADER in headers and headers.get(ORIGIN_GROUP_HEADER) not in {None, self.group.encode()}

    def _decode(self, declaration: Declaration, batch: PartitionBatch, record: Record) -> Delivery[Any]:
        try:
            data = _decode(declaration, record)
        except PermanentError as error:
            return Unreadable(batch.topic, batch.partition, record, error.reason)
        return Event(batch.topic, batch.partition, record, data)


def _decode(declaration: Declaration, record: Record) -> Any:
    """Return the event in `record`.

    Raises:
        PermanentError: `not-a-cloudevent`, `unknown-type`, `unknown-version`, `no-value`, `invalid`, `unreadable`.
    """
    name, major = parse_event_type(record.headers)
    if name not in declaration.decoders:
        raise PermanentError("unknown-type")
    if major != SUPPORTED_MAJOR:
        raise PermanentError("unknown-version")
    if record.value is None:
        raise PermanentError("no-value")
    try:
        return declaration.decoders[name](record.value)
    except msgspec.ValidationError:
        raise PermanentError("invalid") from None
    except DECODE_ERRORS:
        raise PermanentError("unreadable") from None


def _decoders(event_class: type[msgspec.Struct], topic: Topic) -> dict[str, Callable[[bytes], Any]]:
    decode = msgspec.json.Decoder(event_class).decode
    names = [name for name in topic.events if EVENTS.get(name) is event_class]
    if not names:
        raise ValueError(f"{topic.name} carries no {event_class.__name__}")
    return dict.fromkeys(names, decode)
