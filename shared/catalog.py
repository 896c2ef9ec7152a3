"""The in-memory catalog of every service: campaigns, cases, keys, access and totals, from marathon's compacted topics.

It reads without a consumer group, from the start. It is ready once it has read everything that was in the topics when
it began, so that "unknown" means unknown.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Final, Literal

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared import topics
from shared.errors import PermanentError
from shared.events import cloudevents
from shared.events.marathon import (
    DECODERS,
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    Event,
    TotalsChanged,
)
from shared.kafka.consumer_shutdown import shut_down, start_whole
from shared.logging import log
from shared.privacy.keys import DATA_KEY_BYTES, CampaignKeys, KeyOpener
from shared.privacy.sealing import Sealer

EntryKind = Literal["campaign", "case", "keys", "access", "totals"]
Listener = Callable[[EntryKind, str], None]

POLL_TIMEOUT_MS: Final = 500
RECONNECT_DELAY_S: Final = 1.0
REQUEST_TIMEOUT_MS: Final = 10_000
PROBE_INTERVAL_S: Final = 15.0
"""Interval between requests that prove the client alive: after an outage one client may stay unanswered for ever."""


class Catalog:
    """The state of `topics.CASES`, `KEYS`, `ACCESS` and `TOTALS`; `run` keeps it current.

    With an `opener` the campaigns' keys are unwrapped as they arrive; without one (marathon, pages) they are ignored.
    Callers do not change the mappings. All attributes may be read at any time on the event loop's thread.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        opener: KeyOpener | None = None,
        source_topics: tuple[topics.Topic, ...] = topics.COMPACTED,
    ) -> None:
        self.campaigns: dict[str, CampaignChanged] = {}
        self.cases: dict[str, CaseChanged] = {}
        self.petitions: dict[str, CaseChanged] = {}
        self.access: dict[str, AccessChanged] = {}
        self.totals: dict[str, TotalsChanged] = {}
        self.keys: dict[str, CampaignKeys] = {}
        self.ready = False
        self._bootstrap_servers = bootstrap_servers
        self._opener = opener
        self._partitions = tuple(TopicPartition(topic.name, 0) for topic in source_topics)
        self._opened_keys: dict[str, dict[tuple[str, int], bytes]] = {}
        self._access_hashes: dict[str, str] = {}
        self._revoked_ids: set[str] = set()
        self._listeners: list[Listener] = []
        self._became_ready = asyncio.Event()

    def on_change(self, listener: Listener) -> None:
        """Call `listener(kind, key)` after each change, on the event loop's thread. It must not block or raise."""
        self._listeners.append(listener)

    async def wait_ready(self, timeout_s: float) -> None:
        """Wait until `ready`, at most `timeout_s` seconds.

        Raises:
            TimeoutError: the topics could not be read in time.
        """
        async with asyncio.timeout(timeout_s):
            await self._became_ready.wait()

    async def run(self) -> None:
        """Follow the topics until cancelled. The state stays readable while the broker is away."""
        positions: dict[TopicPartition, int] = {}
        while True:
            try:
                await self._follow(positions)
            except (KafkaError, OSError) as error:
                log.warning("catalog lost the broker, trying again", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_DELAY_S)

    async def _follow(self, positions: dict[TopicPartition, int]) -> None:
        """Read with a new client.

        Raises:
            KafkaError, OSError: the broker does not answer this client.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await start_whole(consumer.start())
            consumer.assign(list(self._partitions))
            ends = await consumer.end_offsets(list(self._partitions))
            for partition in self._partitions:
                if partition in positions and positions[partition] <= ends[partition]:
                    consumer.seek(partition, positions[partition])
                else:
                    await consumer.seek_to_beginning(partition)
            probed_at = time.monotonic()
            while True:
                if time.monotonic() - probed_at > PROBE_INTERVAL_S:
                    await consumer.end_offsets(list(self._partitions))
                    probed_at = time.monotonic()
                fetched = await consumer.getmany(timeout_ms=POLL_TIMEOUT_MS if self.ready else 50, max_records=5_000)
                for partition, records in fetched.items():
                    for record in records:
                        self._handle_record(record)
                    positions[partition] = records[-1].offset + 1
                if not self.ready:
                    await self._check_ready(consumer, ends)
        finally:
            await shut_down(consumer, consumer.stop())

    async def _check_ready(self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> None:
        for partition, end in ends.items():
            if await consumer.position(partition) < end:
                return
        self.ready = True
        self._became_ready.set()

    def _handle_record(self, record: ConsumerRecord[bytes, bytes]) -> None:
        try:
            if record.value is None:
                self._remove(record.topic, (record.key or b"").decode())
                return
            event_type = cloudevents.parse_event_type(record.headers)
            if event_type.major != 1 or event_type.name not in DECODERS:
                raise PermanentError("unknown-event")
            event = DECODERS[event_type.name].decode(record.value)
        except (PermanentError, *cloudevents.DECODE_ERRORS):
            log.error("catalog cannot read a record", topic=record.topic, offset=record.offset)
            return
        self._apply(event)

    def _apply(self, event: Event) -> None:
        """Apply `event` unless it is older than the state: a relay that was suspended may repeat an old one."""
        match event:
            case CampaignChanged():
                if not _is_older(event, self.campaigns.get(event.slug)):
                    self.campaigns[event.slug] = event
                    self._notify("campaign", event.slug)
            case CaseChanged():
                if not _is_older(event, self.cases.get(event.slug)):
                    self._replace_case(event)
                    self._notify("case", event.slug)
            case CampaignKeysCreated():
                self._open_key(event)
                self._notify("keys", event.campaign)
            case AccessChanged():
                if event.id not in self._revoked_ids:
                    self._replace_access(event)
                    self._notify("access", event.id)
            case TotalsChanged():
                current = self.totals.get(event.campaign)
                if current is None or event.version > current.version:
                    self.totals[event.campaign] = event
                    self._notify("totals", event.campaign)

    def _replace_case(self, case: CaseChanged) -> None:
        previous = self.cases.get(case.slug)
        if previous is not None and previous.petition is not None:
            self.petitions.pop(previous.petition.slug, None)
        self.cases[case.slug] = case
        if case.petition is not None:
            self.petitions[case.petition.slug] = case

    def _replace_access(self, access: AccessChanged) -> None:
        previous = self._access_hashes.pop(access.id, None)
        if previous is not None:
            self.access.pop(previous, None)
        if access.revoked:
            self._revoked_ids.add(access.id)
        else:
            self.access[access.hash] = access
            self._access_hashes[access.id] = access.hash

    def _open_key(self, event: CampaignKeysCreated) -> None:
        if self._opener is None:
            return
        opened = self._opened_keys.setdefault(event.campaign, {})
        if (event.purpose, event.version) in opened:
            return
        try:
            key = self._opener.open(b64decode(event.wrapped))
            if len(key) != DATA_KEY_BYTES:
                raise ValueError("a key of another length")
        except ValueError:
            log.error("cannot open a campaign key: was it wrapped for this wrapping key?", campaign=event.campaign)
            return
        opened[event.purpose, event.version] = key
        self._assemble_keys(event.campaign, opened)

    def _assemble_keys(self, campaign: str, opened: dict[tuple[str, int], bytes]) -> None:
        sealers = {version: Sealer(key) for (purpose, version), key in opened.items() if purpose == "seal"}
        dedupe, token = opened.get(("dedupe", 1)), opened.get(("token", 1))
        if dedupe is not None and token is not None and sealers:
            self.keys[campaign] = CampaignKeys(dedupe=dedupe, token=token, seal=sealers, current_seal=max(sealers))

    def _remove(self, topic: str, key: str) -> None:
        if topic == topics.ACCESS.name and (hash_ := self._access_hashes.pop(key, None)) is not None:
            self.access.pop(hash_, None)
            self._notify("access", key)
        elif topic == topics.TOTALS.name and self.totals.pop(key, None) is not None:
            self._notify("totals", key)

    def _notify(self, kind: EntryKind, key: str) -> None:
        for listener in self._listeners:
            listener(kind, key)


def _is_older(event: CampaignChanged | CaseChanged, current: CampaignChanged | CaseChanged | None) -> bool:
    return current is not None and event.version < current.version
