"""What every service holds in memory: campaigns, cases, keys, access and totals, from marathon's compacted topics.

Read without a group, from the start. Ready once everything that stood there when reading began has been read, so that
"unknown" means unknown.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared import topics
from shared.errors import PermanentError
from shared.events import cloudevents
from shared.events.marathon import (
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    TotalsChanged,
)
from shared.kafka.consumer_shutdown import leave
from shared.logging import log
from shared.privacy.keys import DATA_KEY_BYTES, CampaignKeys, KeyOpener
from shared.privacy.sealing import Sealer

What = Literal["campaign", "case", "keys", "access", "totals"]
Listener = Callable[[What, str], None]

POLL_MS: Final = 500
RECONNECT_S: Final = 1.0
REQUEST_MS: Final = 10_000
LOOK_S: Final = 15.0
"""How often a client is tried: after an outage one may get no answer any more while others get theirs."""

_Event = CampaignChanged | CaseChanged | CampaignKeysCreated | AccessChanged | TotalsChanged
_EVENTS: Final[dict[str, msgspec.json.Decoder[_Event]]] = {
    "campaign-changed": msgspec.json.Decoder(CampaignChanged),
    "case-changed": msgspec.json.Decoder(CaseChanged),
    "campaign-keys-created": msgspec.json.Decoder(CampaignKeysCreated),
    "access-changed": msgspec.json.Decoder(AccessChanged),
    "totals-changed": msgspec.json.Decoder(TotalsChanged),
}


class Catalog:
    """The state of `topics.CASES`, `KEYS`, `ACCESS` and `TOTALS`; `run` keeps it current.

    With an `opener` the campaigns' keys are opened as they arrive; without one (marathon, pages) they stay wrapped
    and unread. Nothing here is changed by readers. All attributes may be read at any time on the event loop's thread.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        opener: KeyOpener | None = None,
        read: tuple[topics.Topic, ...] = (topics.CASES, topics.KEYS, topics.ACCESS, topics.TOTALS),
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
        self._partitions = tuple(TopicPartition(topic.name, 0) for topic in read)
        self._opened: dict[str, dict[tuple[str, int], bytes]] = {}
        self._access_ids: dict[str, str] = {}
        self._revoked: set[str] = set()
        self._listeners: list[Listener] = []
        self._became_ready = asyncio.Event()

    def on_change(self, listener: Listener) -> None:
        """Call `listener(what, slug)` after each change, on the event loop's thread. It must not block or raise."""
        self._listeners.append(listener)

    async def wait_ready(self, within: float) -> None:
        """Wait until `ready`, at most `within` seconds.

        Raises:
            TimeoutError: the topics could not be read in time.
        """
        async with asyncio.timeout(within):
            await self._became_ready.wait()

    async def run(self) -> None:
        """Follow the topics until cancelled. What was read stays usable while the broker is away."""
        positions: dict[TopicPartition, int] = {}
        while True:
            try:
                await self._follow(positions)
            except (KafkaError, OSError) as error:
                log.warning("catalog lost the broker, trying again", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self, positions: dict[TopicPartition, int]) -> None:
        """Read with a client of its own.

        Raises:
            KafkaError, OSError: the broker does not answer this client.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=REQUEST_MS,
        )
        try:
            await consumer.start()
            consumer.assign(list(self._partitions))
            ends = await consumer.end_offsets(list(self._partitions))
            for partition in self._partitions:
                if partition in positions and positions[partition] <= ends[partition]:
                    consumer.seek(partition, positions[partition])
                else:
                    await consumer.seek_to_beginning(partition)
            looked_at = time.monotonic()
            while True:
                if time.monotonic() - looked_at > LOOK_S:
                    await consumer.end_offsets(list(self._partitions))
                    looked_at = time.monotonic()
                fetched = await consumer.getmany(timeout_ms=POLL_MS if self.ready else 50, max_records=5_000)
                for partition, records in fetched.items():
                    for record in records:
                        self._take(record)
                    positions[partition] = records[-1].offset + 1
                if not self.ready:
                    await self._note_ready(consumer, ends)
        finally:
            await leave(consumer, consumer.stop())

    async def _note_ready(self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> None:
        for partition, end in ends.items():
            if await consumer.position(partition) < end:
                return
        self.ready = True
        self._became_ready.set()

    def _take(self, record: ConsumerRecord[bytes, bytes]) -> None:
        try:
            if record.value is None:
                self._forget(record.topic, (record.key or b"").decode())
                return
            event_type = cloudevents.event_type(record.headers)
            if event_type.major != 1 or event_type.name not in _EVENTS:
                raise PermanentError("unknown-event")
            event = _EVENTS[event_type.name].decode(record.value)
        except (PermanentError, *cloudevents.UNREADABLE):
            log.error("catalog cannot read a record", topic=record.topic, offset=record.offset)
            return
        self._apply(event)

    def _apply(self, event: _Event) -> None:
        """Hold what `event` says, unless something newer is known: a relay that stood still may repeat an old one."""
        match event:
            case CampaignChanged():
                if not _older(event, self.campaigns.get(event.slug)):
                    self.campaigns[event.slug] = event
                    self._tell("campaign", event.slug)
            case CaseChanged():
                if not _older(event, self.cases.get(event.slug)):
                    self._replace_case(event)
                    self._tell("case", event.slug)
            case CampaignKeysCreated():
                self._open(event)
                self._tell("keys", event.campaign)
            case AccessChanged():
                if event.id not in self._revoked:
                    self._replace_access(event)
                    self._tell("access", event.id)
            case TotalsChanged():
                known = self.totals.get(event.campaign)
                if known is None or event.version > known.version:
                    self.totals[event.campaign] = event
                    self._tell("totals", event.campaign)

    def _replace_case(self, case: CaseChanged) -> None:
        before = self.cases.get(case.slug)
        if before is not None and before.petition is not None:
            self.petitions.pop(before.petition.slug, None)
        self.cases[case.slug] = case
        if case.petition is not None:
            self.petitions[case.petition.slug] = case

    def _replace_access(self, access: AccessChanged) -> None:
        before = self._access_ids.pop(access.id, None)
        if before is not None:
            self.access.pop(before, None)
        if access.revoked:
            self._revoked.add(access.id)
        else:
            self.access[access.hash] = access
            self._access_ids[access.id] = access.hash

    def _open(self, event: CampaignKeysCreated) -> None:
        if self._opener is None:
            return
        opened = self._opened.setdefault(event.campaign, {})
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
        self._complete(event.campaign, opened)

    def _complete(self, campaign: str, opened: dict[tuple[str, int], bytes]) -> None:
        seal = {version: Sealer(key) for (purpose, version), key in opened.items() if purpose == "seal"}
        dedupe, token = opened.get(("dedupe", 1)), opened.get(("token", 1))
        if dedupe is not None and token is not None and seal:
            self.keys[campaign] = CampaignKeys(dedupe=dedupe, token=token, seal=seal, current_seal=max(seal))

    def _forget(self, topic: str, key: str) -> None:
        if topic == topics.ACCESS.name and (known := self._access_ids.pop(key, None)) is not None:
            self.access.pop(known, None)
            self._tell("access", key)
        elif topic == topics.TOTALS.name and self.totals.pop(key, None) is not None:
            self._tell("totals", key)

    def _tell(self, what: What, slug: str) -> None:
        for listener in self._listeners:
            listener(what, slug)


def _older(event: CampaignChanged | CaseChanged, known: CampaignChanged | CaseChanged | None) -> bool:
    return known is not None and event.version < known.version
