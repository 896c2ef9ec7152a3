"""Publish the totals of every campaign, once a second where they move, and freeze those of closed campaigns.

Every process with the ledger may run a publisher: an advisory lock and the version let one publish a campaign at a
time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import asyncpg
import msgspec
from aiokafka.errors import KafkaError

from services.marathon.actions.announce import Announcements
from services.marathon.domain.disclosure import Disclosed, Exact, disclose, lowered_by
from services.marathon.domain.document import Sums, compose, public_record, says_the_same
from services.marathon.domain.freshness import FREEZE_AFTER_S, Freshness, Reading, reached
from services.marathon.domain.ledger import Head, SourcePartition
from services.marathon.storage import campaigns, cells, ledger, published
from services.marathon.storage.published import Freeze, Published
from shared.clock import parse_rfc3339
from shared.database import connected
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged, Correction, TotalsChanged
from shared.kafka import outbox
from shared.logging import log
from shared.metrics import PARTITION_HALTED, TOTALS_AGE, TOTALS_PUBLISHED
from shared.tasks import raise_if_cancelled

EVERY_S: Final = 0.95
"""A little under a second, so that what is due every two seconds comes in two rounds."""
REFRESH_S: Final = 1.4
"""Unchanged totals that are not final are published again after so long, for their `as_of`."""
ROUND_S: Final = 20.0
LONGEST_PAUSE_S: Final = 5.0
"""Between rounds that fail."""
GIVE_UP_S: Final = 120.0
"""So long without a round that ends although Kafka and PostgreSQL answer, and a new process does better."""

SURROUNDINGS: Final = (
    TransientError,
    KafkaError,
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""What ends a round but not the process: the next one may succeed."""
_OUR_OWN: Final = (TransientError, TimeoutError, asyncpg.InterfaceError)
"""Of these, what neither of the two has said."""


class Ends(Protocol):
    """Where the end offsets of the counted topics come from."""

    async def read(self) -> Reading:
        """The end offset of every source partition.

        Raises:
            KafkaError, OSError, TimeoutError: the broker does not tell.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    """The exact totals of a campaign as of `mark` and its public record, under `campaign`'s policies."""

    mark: int
    campaign: CampaignChanged
    exact: Exact
    corrections: list[Correction]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One state of the database; `reading` was made before it."""

    reading: Reading
    heads: Mapping[SourcePartition, Head]
    campaigns: list[CampaignChanged]
    marks: Mapping[str, int]
    freezes: Mapping[str, Freeze]


class Publisher:
    """Publishes totals documents; `run` goes on until cancelled. What time it is says the reading of `ends`."""

    def __init__(self, pool: asyncpg.Pool, ends: Ends, announcements: Announcements) -> None:
        self._pool = pool
        self._ends = ends
        self._announcements = announcements
        self._freshness: Freshness | None = None
        self._published: dict[str, Published] = {}
        self._known: dict[str, _Known] = {}
        self._published_at: dict[str, float] = {}
        self._both_answered = False
        self._failure: str | None = None
        self._age, self._aged_from = 0.0, time.monotonic()

    def degraded(self) -> Mapping[str, str]:
        """What the public goes without for now, by part."""
        cut = self._freshness.cut if self._freshness is not None else {}
        degraded = {str(place): str(what) for place, what in cut.items()}
        if self._failure is not None:
            degraded["totals"] = f"not published, the last round failed: {self._failure}"
        return degraded

    async def run(self) -> None:
        """Publish in rounds. While Kafka or PostgreSQL is away they fail, however long it takes.

        Raises:
            TransientError: for two minutes no round came to its end although both answered.
        """
        TOTALS_AGE.set_function(lambda: self._age + time.monotonic() - self._aged_from)
        last_excused = time.monotonic()
        pause = EVERY_S
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(ROUND_S):
                    await self.publish()
            except SURROUNDINGS as error:
                raise_if_cancelled()
                self._failure = type(error).__name__
                log.warning("totals could not be published", failure=self._failure)
                if not (self._both_answered and isinstance(error, _OUR_OWN)):
                    last_excused = time.monotonic()
                elif time.monotonic() - last_excused > GIVE_UP_S:
                    raise TransientError("no totals for two minutes although Kafka and PostgreSQL answer") from error
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._failure, pause, last_excused = None, EVERY_S, time.monotonic()
            await asyncio.sleep(max(0.05, began + pause - time.monotonic()))

    async def publish(self) -> None:
        """One round: read the end offsets, then the sums, then put what is due in the outbox."""
        self._both_answered = False
        freshness = self._freshness = self._freshness or await self._begin()
        reading = await self._ends.read()
        async with connected(self._pool) as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                snapshot = await self._read(connection, reading)
                self._both_answered = True
                due = await self._due(connection, snapshot, self._as_of(freshness, snapshot))
            if due:
                await self._put(connection, due, reading.at)
            for campaign in snapshot.campaigns:
                await self._close(connection, campaign, snapshot, whole=not freshness.cut)

    async def _begin(self) -> Freshness:
        async with connected(self._pool) as connection:
            return Freshness(await ledger.heads(connection))

    async def _read(self, connection: asyncpg.Connection, reading: Reading) -> _Snapshot:
        snapshot = _Snapshot(
            reading,
            await ledger.heads(connection),
            await campaigns.all_campaigns(connection),
            await cells.marks(connection),
            await published.freezes(connection),
        )
        versions = await published.versions(connection)
        stale = [slug for slug, version in versions.items() if self._version(slug) != version]
        for found in await published.documents(connection, stale):
            self._published[found.document.campaign] = found
        return snapshot

    def _version(self, slug: str) -> int:
        known = self._published.get(slug)
        return known.document.version if known is not None else 0

    def _as_of(self, freshness: Freshness, snapshot: _Snapshot) -> float | None:
        """As of when the snapshot is true; tells of it, and of logs that lost what was counted."""
        before = dict(freshness.cut)
        as_of = freshness.as_of(snapshot.reading, snapshot.heads)
        if as_of is not None:
            self._age, self._aged_from = snapshot.reading.at - as_of, time.monotonic()
        for place in before.keys() | freshness.cut.keys():
            PARTITION_HALTED.labels(*place).set(place in freshness.cut)
        for place in freshness.cut.keys() - before.keys():
            log.error("a log lost what was counted", source=str(place), reason=str(freshness.cut[place]))
        return as_of

    async def _due(self, connection: asyncpg.Connection, snapshot: _Snapshot, as_of: float | None) -> list[Published]:
        now = snapshot.reading.at
        slugs = [campaign.slug for campaign in snapshot.campaigns]
        recent = await cells.recent_minutes(connection, slugs, int(now) // 60 - 1)
        due = []
        for campaign in snapshot.campaigns:
            before = self._published.get(campaign.slug)
            if before is None:
                continue
            known = await self._exact(connection, campaign, snapshot.marks.get(campaign.slug, 0))
            if before.document.state == "frozen":
                after = _with_corrections(before, known)
            else:
                disclosed = _disclosed(known.exact, known.corrections, campaign, before)
                sums = Sums(disclosed, known.corrections, recent.get(campaign.slug, ()), snapshot.heads)
                after = Published(_next(before.document, campaign, sums, as_of, now), disclosed.memory)
            if self._is_due(before.document, after.document):
                due.append(after)
        return due

    async def _exact(self, connection: asyncpg.Connection, campaign: CampaignChanged, mark: int) -> _Known:
        known = self._known.get(campaign.slug)
        if known is None or (known.mark, known.campaign) != (mark, campaign):
            exact = await cells.exact(connection, campaign.slug, campaign.policies.public_evidence)
            corrections = public_record(await cells.corrections(connection, campaign.slug), campaign.policies)
            known = self._known[campaign.slug] = _Known(mark, campaign, exact, corrections)
        return known

    def _is_due(self, before: TotalsChanged, after: TotalsChanged) -> bool:
        if not says_the_same(before, after):
            return True
        age = time.monotonic() - self._published_at.get(after.campaign, 0.0)
        return after.state != "frozen" and age >= REFRESH_S

    async def _put(self, connection: asyncpg.Connection, due: list[Published], now: float) -> None:
        async with connection.transaction():
            put = [each for each in due if await published.put(connection, each, now)]
            await outbox.put_outbox(connection, [self._announcements.totals(each.document, now) for each in put])
        for each in put:
            self._note(each)

    def _note(self, put: Published) -> None:
        self._published[put.document.campaign] = put
        self._published_at[put.document.campaign] = time.monotonic()
        TOTALS_PUBLISHED.inc()

    async def _close(
        self, connection: asyncpg.Connection, campaign: CampaignChanged, snapshot: _Snapshot, *, whole: bool
    ) -> None:
        """Freeze a closed campaign once everything that was there a minute after its end is in the ledger.

        Where a log is not `whole`, what is there cannot be told.
        """
        if not whole:
            return
        freeze = snapshot.freezes.get(campaign.slug)
        if freeze is None:
            if snapshot.reading.at >= parse_rfc3339(campaign.confirmations_close) + FREEZE_AFTER_S:
                await self._put_ends(connection, campaign, snapshot.reading)
        elif not freeze.done and reached(freeze.ends, snapshot.heads) and campaign.slug in self._published:
            await self._freeze(connection, campaign, self._published[campaign.slug], snapshot.reading.at)

    async def _put_ends(self, connection: asyncpg.Connection, campaign: CampaignChanged, reading: Reading) -> None:
        # An import that extends the campaign comes wholly before, and then it is not closed, or is refused.
        async with connection.transaction():
            await campaigns.lock(connection)
            await published.put_ends(connection, campaign, reading.ends, reading.at)

    async def _freeze(
        self, connection: asyncpg.Connection, campaign: CampaignChanged, before: Published, now: float
    ) -> None:
        async with connection.transaction():
            if not await published.freeze(connection, campaign.slug, now):
                return
            exact = await cells.exact(connection, campaign.slug, campaign.policies.public_evidence)
            corrections = public_record(await cells.corrections(connection, campaign.slug), campaign.policies)
            disclosed = _disclosed(exact, corrections, campaign, before)
            sums = Sums(disclosed, corrections, (), await ledger.heads(connection))
            document = msgspec.structs.replace(
                _next(before.document, campaign, sums, None, now), state="frozen", lag_seconds=0.0
            )
            final = Published(document, disclosed.memory)
            if not await published.put(connection, final, now):
                raise TransientError("somebody else publishes this campaign")
            await outbox.put_outbox(connection, [self._announcements.totals(document, now)])
        self._note(final)
        log.info("final tally made", campaign=campaign.slug, total=document.total)


def _disclosed(
    exact: Exact, corrections: Sequence[Correction], campaign: CampaignChanged, before: Published
) -> Disclosed:
    """What may be shown of `exact` and `corrections` after the document `before`."""
    return disclose(
        exact,
        campaign.policies,
        campaign.cases,
        before.memory,
        corrected=lowered_by(corrections),
        sections=bool(campaign.sections),
    )


def _next(
    before: TotalsChanged, campaign: CampaignChanged, sums: Sums, as_of: float | None, now: float
) -> TotalsChanged:
    """The document after `before`; its `as_of` never goes back."""
    known = parse_rfc3339(before.as_of)
    fresher = known if as_of is None else max(known, as_of)
    return compose(campaign, sums, version=before.version + 1, as_of=fresher, now=now)


def _with_corrections(before: Published, known: _Known) -> Published:
    """A frozen document with its public record brought up to date; nothing else of it moves."""
    document = msgspec.structs.replace(
        before.document,
        version=before.document.version + 1,
        corrections=known.corrections,
    )
    return Published(document, before.memory)
