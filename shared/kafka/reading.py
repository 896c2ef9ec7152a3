"""Reads the records of a batch and makes them ready for the transaction, without the database."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from shared.errors import PermanentError
from shared.kafka.counted import CountedTopic
from shared.kafka.fold import Arrived, Outcome
from shared.kafka.interning import Combination, combination
from shared.kafka.packing import staged_row, submission_row
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.submissions import KEY_BYTES, Origin, Reading, Submission, check_shape, keyed_hash
from shared.kafka.transitions import Happened, State, Submitted, Then

Item = TypeVar("Item")

SLICE: Final = 250
"""After so many records what else waits gets its turn: foremost the transaction before."""


class Said(NamedTuple):
    """What a record says.

    A `submission` with its digest; or that something happened (`then`) to the submission of that digest; or nothing
    that can be understood (`refusal`). `origin` is set where it was redriven.
    """

    partition: int
    record: Record
    submission: Submission | None = None
    digest: bytes = b""
    then: Then | None = None
    origin: Origin | None = None
    refusal: str = ""

    @property
    def key(self) -> bytes:
        """The dedupe key; empty where the record has none that could be one."""
        key = self.record.key
        return key if key is not None and len(key) == KEY_BYTES else b""

    @property
    def accepted_ms(self) -> int:
        """When it was accepted, by the broker's clock; of a redriven record, when it was accepted first."""
        return self.origin.timestamp_ms if self.origin else self.record.timestamp_ms


@dataclass(slots=True)
class Work:
    """What a transaction has to do.

    `singles` are keys that the batches name once, in a plain submission: they may go in together. Everything else is
    `special`, in the order of partition and offset. `staged` and `kept` are the packed rows of `singles`, `cells` where
    they count, all three in the same order.
    """

    batches: Sequence[PartitionBatch]
    singles: dict[bytes, Said] = field(default_factory=dict)
    special: list[Said] = field(default_factory=list)
    staged: list[bytes] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)
    cells: list[tuple[int, int, State, int]] = field(default_factory=list)
    fresh: int = 0
    """How many of the singles were new."""
    outcome: Outcome = field(default_factory=Outcome)
    """What the fold of everything else did."""


class Combinations(Protocol):
    """Numbers for combinations of dimensions: `Interned`, or a replay's own."""

    ids: dict[tuple[str | None, ...], int]

    def forget_if_many(self) -> None:
        """Start anew once there are too many to remember."""

    async def intern(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""


class Reader:
    """Makes `Work` of the batches of one counted topic."""

    def __init__(self, counted: CountedTopic, interned: Combinations) -> None:
        self._reading = Reading(counted.topic)
        self._topic = counted.topic.name.encode()
        self._interned = interned
        self._alone = not counted.daily_limit

    async def work(self, batches: Sequence[PartitionBatch]) -> Work:
        """What there is to do for `batches`."""
        work = Work(batches)
        together: set[bytes] = set()
        for batch in batches:
            for records in _slices(batch.records):
                self._read(batch.partition, records, work, together)
                await asyncio.sleep(0)
        for key in together:
            if said := work.singles.pop(key, None):
                work.special.append(said)
        work.special.sort(key=lambda said: (said.partition, said.record.offset))
        await self._intern([*work.singles.values(), *work.special])
        for some in _slices(list(work.singles.items())):
            self._pack(some, work)
            await asyncio.sleep(0)
        return work

    def arrived(self, said: Said) -> Arrived:
        """What the fold sees of `said`."""
        record, origin, key = said.record, said.origin, said.key
        first = origin.offset if origin else record.offset
        if said.refusal:
            return Arrived(said.partition, record.offset, first, key, None, refusal=said.refusal, said=said)
        if said.submission is None:
            assert said.then is not None  # noqa: S101  what is neither refused nor a submission happened later
            happened = Happened(record.offset, first, said.then)
            return Arrived(said.partition, record.offset, first, key, happened, said=said)
        submitted = Submitted(
            offset=record.offset,
            origin=first,
            partition=said.partition,
            dimensions=self.dimensions(said.submission),
            minute=said.accepted_ms // 60_000,
            state=said.submission.state,
            digest=int.from_bytes(said.digest[:8], "big", signed=True),
        )
        return Arrived(said.partition, record.offset, first, key, submitted, quota=said.submission.quota, said=said)

    def dimensions(self, submission: Submission) -> int:
        """The id of the combination that `submission` counts under."""
        return self._interned.ids[combination(submission)]

    def kept(self, said: Said, *, further: bool) -> bytes:
        """The packed row of `submissions` for `said`, which is a submission."""
        assert said.submission is not None  # noqa: S101
        return self._kept(said, said.submission, self.dimensions(said.submission), further=further)

    def _kept(self, said: Said, submission: Submission, dimensions: int, *, further: bool) -> bytes:
        place = (self._topic, said.partition, said.record.offset, said.accepted_ms)
        return submission_row(place, submission, dimensions, said.key, said.digest, further=further)

    def _read(self, partition: int, records: Iterable[Record], work: Work, together: set[bytes]) -> None:
        singles = work.singles
        for record in records:
            said = self._say(partition, record)
            key = said.key
            if self._alone and said.submission and said.origin is None and key not in singles and key not in together:
                singles[key] = said
            else:
                work.special.append(said)
                together.add(key)

    def _say(self, partition: int, record: Record) -> Said:
        origin = None
        try:
            what, origin = self._reading.headers(record, partition)
            check_shape(record.key, record.value)
            if what == "submitted":
                submission = self._reading.submission(record.value or b"")
                _ = submission.quota
                return Said(partition, record, submission, keyed_hash(submission.digest), origin=origin)
            reference = self._reading.reference(record.value or b"")
            digest = keyed_hash(reference.digest) if reference.digest else b""
        except PermanentError as error:
            return Said(partition, record, origin=origin, refusal=error.reason)
        return Said(partition, record, digest=digest, then=what, origin=origin)

    async def _intern(self, said: Iterable[Said]) -> None:
        self._interned.forget_if_many()
        ids = self._interned.ids
        wanted: set[Combination] = {
            found for one in said if one.submission and (found := combination(one.submission)) not in ids
        }
        if wanted:
            await self._interned.intern(wanted)

    def _pack(self, singles: Sequence[tuple[bytes, Said]], work: Work) -> None:
        for key, said in singles:
            submission, record = said.submission, said.record
            assert submission is not None  # noqa: S101  that is what a single is
            dimensions = self.dimensions(submission)
            minute = record.timestamp_ms // 60_000
            state = submission.state
            work.cells.append((said.partition, dimensions, state, minute))
            work.staged.append(
                staged_row(record.offset, said.digest[:8], dimensions, minute, said.partition, state.encode(), key)
            )
            work.kept.append(self._kept(said, submission, dimensions, further=False))


def said_by(one: Arrived) -> Said:
    """What a record said that came through `Reader.arrived`."""
    assert one.said is not None  # noqa: S101  it set it
    return one.said


def _slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for at in range(0, len(items), SLICE):
        yield items[at : at + SLICE]
