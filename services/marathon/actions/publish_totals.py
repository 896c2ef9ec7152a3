"""Publish the totals of every campaign, once a second while they change, and freeze those of closed campaigns.

Every process with the ledger may run a publisher: an advisory lock and the version ensure that only one publishes a
campaign at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from services.marathon.actions.outbox_records import outbox_record
from services.marathon.domain.disclosure import DisclosedTotals, ExactTotals, disclose, total_decrease
from services.marathon.domain.document import Sums, has_same_figures, next_document, public_record, with_corrections
from services.marathon.domain.freshness import FREEZE_AFTER_S, EndOffsets, Freshness, has_reached
from services.marathon.domain.ledger import ChainHead, SourcePartition
from services.marathon.storage import campaigns, cells, ledger, published
from services.marathon.storage.published import Freeze, Published
from shared.clock import parse_rfc3339
from shared.database import connected
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged, Correction, TotalsChanged
from shared.kafka import outbox
from shared.logging import log
from shared.metrics import PARTITION_HALTED, TOTALS_AGE, TOTALS_PUBLISHED
from shared.outages import OUTAGES, Backoff

READER: Final = "marathon.publish-totals"
"""The name under which halted partitions are reported; it reads end offsets only and is no consumer group."""
PUBLISH_INTERVAL_S: Final = 0.95
"""A little under a second, so that documents due every two seconds are published every second round."""
REFRESH_INTERVAL_S: Final = 1.4
"""Unchanged totals that are not final are published again after this time, to renew their `as_of`."""
ROUND_TIMEOUT_S: Final = 20.0
GIVE_UP_AFTER_S: Final = 120.0
"""The process ends after this time without a completed round although Kafka and PostgreSQL answer."""

_INTERNAL_ERRORS: Final = (TransientError, TimeoutError, asyncpg.InterfaceError)
"""The outages that come neither from Kafka nor from PostgreSQL."""


@dataclass(frozen=True, slots=True)
class _CampaignTotals:
    """The exact totals of a campaign as of `revision` and its public record, under `campaign`'s policies."""

    revision: int
    campaign: CampaignChanged
    exact: ExactTotals
    corrections: list[Correction]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One consistent state of the database; `end_offsets` were read before it."""

    end_offsets: EndOffsets
    heads: Mapping[SourcePartition, ChainHead]
    campaigns: list[CampaignChanged]
    revisions: Mapping[str, int]
    freezes: Mapping[str, Freeze]


class Publisher:
    """Publishes totals documents; `run` goes on until cancelled. The time is that at which the end offsets were read.

    `read_end_offsets` raises `KafkaError`, `OSError` or `TimeoutError` where the broker does not answer.
    """

    def __init__(self, pool: asyncpg.Pool, read_end_offsets: Callable[[], Awaitable[EndOffsets]]) -> None:
        self._pool = pool
        self._read_end_offsets = read_end_offsets
        self._freshness: Freshness | None = None
        self._published: dict[str, Published] = {}
        self._totals: dict[str, _CampaignTotals] = {}
        self._published_at: dict[str, float] = {}
        self._dependencies_answered = False
        self._failure: str | None = None
        self._age_s, self._age_measured_at = 0.0, time.monotonic()

    def degraded(self) -> Mapping[str, str]:
        """What the published totals currently lack, by part."""
        truncated = self._freshness.truncated if self._freshness is not None else {}
        degraded = {str(source): str(end) for source, end in truncated.items()}
        if self._failure is not None:
            degraded["totals"] = f"not published, the last round failed: {self._failure}"
        return degraded

    async def run(self) -> None:
        """Publish in rounds. Rounds fail while Kafka or PostgreSQL is away, however long that takes.

        Raises:
            TransientError: no round completed for two minutes although both answered.
        """
        TOTALS_AGE.set_function(lambda: self._age_s + time.monotonic() - self._age_measured_at)
        failure = "no totals although Kafka and PostgreSQL answer"
        backoff = Backoff(failure, min_pause_s=PUBLISH_INTERVAL_S, give_up_s=GIVE_UP_AFTER_S)
        while True:
            started_at = time.monotonic()
            try:
                async with asyncio.timeout(ROUND_TIMEOUT_S):
                    await self.publish()
            except OUTAGES as error:
                self._failure = type(error).__name__
                log.warning("totals could not be published", failure=self._failure)
                internal = self._dependencies_answered and isinstance(error, _INTERNAL_ERRORS)
                await backoff.pause(error, excused=not internal)
            else:
                self._failure = None
                backoff.reset()
                await asyncio.sleep(max(0.05, started_at + PUBLISH_INTERVAL_S - time.monotonic()))

    async def publish(self) -> None:
        """Run one round: read the end offsets, then the sums, then put the documents that are due in the outbox."""
        self._dependencies_answered = False
        freshness = self._freshness = self._freshness or await self._load_freshness()
        end_offsets = await self._read_end_offsets()
        async with connected(self._pool) as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                snapshot = await self._read_snapshot(connection, end_offsets)
                self._dependencies_answered = True
                due = await self._due(connection, snapshot, self._as_of(freshness, snapshot))
            if due:
                await self._store(connection, due, end_offsets.read_at)
            for campaign in snapshot.campaigns:
                await self._close_campaign(connection, campaign, snapshot, logs_complete=not freshness.truncated)

    async def _load_freshness(self) -> Freshness:
        async with connected(self._pool) as connection:
            return Freshness(await ledger.heads(connection))

    async def _read_snapshot(self, connection: asyncpg.Connection, end_offsets: EndOffsets) -> _Snapshot:
        snapshot = _Snapshot(
            end_offsets,
            await ledger.heads(connection),
            await campaigns.all_campaigns(connection),
            await cells.revisions(connection),
            await published.freezes(connection),
        )
        versions = await published.versions(connection)
        known = {slug: stored.document.version for slug, stored in self._published.items()}
        stale = [slug for slug, version in versions.items() if known.get(slug) != version]
        for stored in await published.documents(connection, stale):
            self._published[stored.document.campaign] = stored
        return snapshot

    def _as_of(self, freshness: Freshness, snapshot: _Snapshot) -> float | None:
        """Return the time as of which the snapshot is true; report it, and logs that lost counted records."""
        before = dict(freshness.truncated)
        as_of = freshness.as_of(snapshot.end_offsets, snapshot.heads)
        if as_of is not None:
            self._age_s, self._age_measured_at = snapshot.end_offsets.read_at - as_of, time.monotonic()
        for source in before.keys() | freshness.truncated.keys():
            PARTITION_HALTED.labels(READER, *source).set(source in freshness.truncated)
        for source in freshness.truncated.keys() - before.keys():
            log.error("a log lost what was counted", source=str(source), reason=str(freshness.truncated[source]))
        return as_of

    async def _due(self, connection: asyncpg.Connection, snapshot: _Snapshot, as_of: float | None) -> list[Published]:
        now = snapshot.end_offsets.read_at
        slugs = [campaign.slug for campaign in snapshot.campaigns]
        recent = await cells.recent_minutes(connection, slugs, int(now) // 60 - 1)
        due = []
        for campaign in snapshot.campaigns:
            before = self._published.get(campaign.slug)
            if before is None:
                continue
            totals = await self._campaign_totals(connection, campaign, snapshot.revisions.get(campaign.slug, 0))
            if before.document.state == "frozen":
                after = Published(with_corrections(before.document, totals.corrections), before.memory)
            else:
                disclosed = _disclose(totals.exact, totals.corrections, campaign, before)
                sums = Sums(disclosed, totals.corrections, recent.get(campaign.slug, ()), snapshot.heads)
                after = Published(next_document(before.document, campaign, sums, as_of, now), disclosed.memory)
            if self._is_due(before.document, after.document):
                due.append(after)
        return due

    async def _campaign_totals(
        self, connection: asyncpg.Connection, campaign: CampaignChanged, revision: int
    ) -> _CampaignTotals:
        totals = self._totals.get(campaign.slug)
        if totals is None or (totals.revision, totals.campaign) != (revision, campaign):
            exact = await cells.exact_totals(connection, campaign.slug, campaign.policies.public_evidence)
            corrections = public_record(await cells.corrections(connection, campaign.slug), campaign.policies)
            totals = self._totals[campaign.slug] = _CampaignTotals(revision, campaign, exact, corrections)
        return totals

    def _is_due(self, before: TotalsChanged, after: TotalsChanged) -> bool:
        if not has_same_figures(before, after):
            return True
        age = time.monotonic() - self._published_at.get(after.campaign, 0.0)
        return after.state != "frozen" and age >= REFRESH_INTERVAL_S

    async def _store(self, connection: asyncpg.Connection, due: list[Published], now: float) -> None:
        async with connection.transaction():
            stored = [each for each in due if await published.put(connection, each, now)]
            await outbox.put_outbox(connection, [outbox_record(each.document, now) for each in stored])
        for each in stored:
            self._record_published(each)

    def _record_published(self, stored: Published) -> None:
        self._published[stored.document.campaign] = stored
        self._published_at[stored.document.campaign] = time.monotonic()
        TOTALS_PUBLISHED.inc()

    async def _close_campaign(
        self, connection: asyncpg.Connection, campaign: CampaignChanged, snapshot: _Snapshot, *, logs_complete: bool
    ) -> None:
        """Freeze a closed campaign once the ledger contains all that the logs held a minute after its end.

        Does nothing unless the `logs_complete`: a truncated log does not show what was there. The end is that of
        confirmations: `tallies_close` moves no freeze as long as there are no offline tallies.
        """
        if not logs_complete:
            return
        freeze = snapshot.freezes.get(campaign.slug)
        if freeze is None:
            if snapshot.end_offsets.read_at >= parse_rfc3339(campaign.confirmations_close) + FREEZE_AFTER_S:
                await self._store_end_offsets(connection, campaign, snapshot.end_offsets)
        elif not freeze.done and has_reached(freeze.end_offsets, snapshot.heads) and campaign.slug in self._published:
            await self._freeze(connection, campaign, self._published[campaign.slug], snapshot.end_offsets.read_at)

    async def _store_end_offsets(
        self, connection: asyncpg.Connection, campaign: CampaignChanged, end_offsets: EndOffsets
    ) -> None:
        # An import that extends the campaign either commits before this, so that it is not closed, or is refused.
        async with connection.transaction():
            await campaigns.lock(connection)
            await published.put_end_offsets(connection, campaign, end_offsets.offsets, end_offsets.read_at)

    async def _freeze(
        self, connection: asyncpg.Connection, campaign: CampaignChanged, before: Published, now: float
    ) -> None:
        async with connection.transaction():
            if not await published.freeze(connection, campaign.slug, now):
                return
            exact = await cells.exact_totals(connection, campaign.slug, campaign.policies.public_evidence)
            corrections = public_record(await cells.corrections(connection, campaign.slug), campaign.policies)
            disclosed = _disclose(exact, corrections, campaign, before)
            sums = Sums(disclosed, corrections, (), await ledger.heads(connection))
            document = msgspec.structs.replace(
                next_document(before.document, campaign, sums, None, now), state="frozen", lag_seconds=0.0
            )
            final = Published(document, disclosed.memory)
            if not await published.put(connection, final, now):
                raise TransientError("somebody else publishes this campaign")
            await outbox.put_outbox(connection, [outbox_record(document, now)])
        self._record_published(final)
        log.info("final tally made", campaign=campaign.slug, total=document.total)


def _disclose(
    exact: ExactTotals, corrections: Sequence[Correction], campaign: CampaignChanged, before: Published
) -> DisclosedTotals:
    """Return the totals that may be shown of `exact` and `corrections` after the document `before`."""
    return disclose(
        exact,
        campaign.policies,
        campaign.cases,
        before.memory,
        corrected=total_decrease(corrections),
        sections=bool(campaign.sections),
    )
