"""Every topic: name, owner, events, key, partitions, retention, personal data. The only place with topic strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS
FOREVER_MS: Final = -1
MAX_MESSAGE_BYTES: Final = 1_048_576
"""The largest record batch a topic takes: Kafka's own default for `max.message.bytes`, less its overhead."""
COMPACTED_SEGMENT_BYTES: Final = 16 * 1024 * 1024
DEAD_LETTER_HEADER_BYTES: Final = 64 * 1024
"""Room for the headers that give the reason for a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic.

    `partitions` and `partitions_production` never change once a topic exists, because keys map to partitions by them.
    `durable` marks the topics that a 202 rests on: a single broker flushes each append of theirs to disk unless
    `KAFKA_FLUSH=off`. `broker_time` makes the broker's clock the time of acceptance (`LogAppendTime`).
    """

    name: str
    owner: str
    events: tuple[str, ...]
    key: str
    partitions: int = 1
    partitions_production: int = 1
    retention_ms: int = FOREVER_MS
    compacted: bool = False
    durable: bool = False
    broker_time: bool = False
    personal_data: bool = False
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def partition_count(self, *, production: bool) -> int:
        """Return how many partitions this topic has in production or elsewhere, permanently."""
        return self.partitions_production if production else self.partitions

    @property
    def fixed_partition_count(self) -> int:
        """How many partitions this topic has everywhere.

        Raises:
            ValueError: it has another number in production.
        """
        if self.partitions != self.partitions_production:
            raise ValueError(f"{self.name} has another number of partitions in production")
        return self.partitions

    def broker_settings(self, *, flush: bool) -> dict[str, str]:
        """Return the broker-side settings of this topic; `flush` is whether a durable topic flushes each append."""
        settings = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "LogAppendTime" if self.broker_time else "CreateTime",
            "retention.ms": str(self.retention_ms),
        }
        if self.compacted:
            # Only closed segments are compacted, and a starting service reads all of them: totals come every second.
            settings["segment.bytes"] = str(COMPACTED_SEGMENT_BYTES)
            settings["min.cleanable.dirty.ratio"] = "0.1"
        if self.durable:
            settings["flush.messages"] = "1" if flush else str(2**63 - 1)
        return settings


def _intake_topic(name: str, owner: str, events: tuple[str, ...], key: str) -> Topic:
    return Topic(
        name=name,
        owner=owner,
        events=events,
        key=key,
        partitions=4,
        partitions_production=48,
        retention_ms=7 * DAY_MS,
        durable=True,
        broker_time=True,
        personal_data=True,
    )


SIGNATURES: Final = _intake_topic(
    "petitions.signatures.v1",
    "petitions",
    (
        "signature-submitted",
        "signature-confirmed",
        "signature-withdrawn",
        "signature-invalidated",
        "signature-reinstated",
        "signature-released",
    ),
    "dedupe key",
)
ACTS: Final = _intake_topic(
    "petitions.acts.v1",
    "petitions",
    ("act-submitted", "act-withdrawn", "act-invalidated", "act-reinstated", "act-released"),
    "dedupe key",
)
MESSAGES: Final = _intake_topic(
    "letters.messages.v1",
    "letters",
    (
        "message-submitted",
        "message-confirmed",
        "message-withdrawn",
        "message-invalidated",
        "message-reinstated",
        "message-released",
    ),
    "dedupe key; partition by person key",
)


def _probe_topic(owner: str) -> Topic:
    """Return a topic of empty records whose acknowledgements tell `owner` the broker's time. It has no reader."""
    return Topic(name=f"{owner}.probes.v1", owner=owner, events=(), key="none", retention_ms=HOUR_MS, broker_time=True)


PETITIONS_PROBES: Final = _probe_topic("petitions")
LETTERS_PROBES: Final = _probe_topic("letters")
MARATHON_PROBES: Final = _probe_topic("marathon")
PETITIONS_TALLIES: Final = Topic(
    name="petitions.tallies.v1", owner="petitions", events=("actions-counted",), key="source partition"
)
LETTERS_TALLIES: Final = Topic(
    name="letters.tallies.v1", owner="letters", events=("actions-counted",), key="source partition"
)
CASES: Final = Topic(
    name="marathon.cases.v1",
    owner="marathon",
    events=("campaign-changed", "case-changed"),
    key="campaign/<slug>, case/<slug>",
    compacted=True,
)
KEYS: Final = Topic(
    name="marathon.keys.v1",
    owner="marathon",
    events=("campaign-keys-created",),
    key="<campaign>/<purpose>/<version>",
    compacted=True,
)
ACCESS: Final = Topic(
    name="marathon.access.v1", owner="marathon", events=("access-changed",), key="key or account id", compacted=True
)
TOTALS: Final = Topic(
    name="marathon.totals.v1", owner="marathon", events=("totals-changed",), key="campaign", compacted=True
)
DELIVERIES: Final = Topic(
    name="notifications.deliveries.v1",
    owner="notifications",
    events=("delivery-sent", "delivery-bounced", "delivery-unsubscribed", "delivery-resubscribed"),
    key="recipient key",
    retention_ms=90 * DAY_MS,
)


def dead_letter_name(topic: str) -> str:
    """Return the name of the dead-letter topic of `topic`."""
    return f"{topic}.dlq"


def dead_letter_topic(topic: Topic) -> Topic:
    """Return the dead-letter topic of `topic`: unchanged records, the reason in headers, kept for seven days."""
    return Topic(
        name=dead_letter_name(topic.name),
        owner=topic.owner,
        events=topic.events,
        key="as it came",
        partitions=topic.partitions,
        partitions_production=topic.partitions_production,
        retention_ms=7 * DAY_MS,
        personal_data=topic.personal_data,
        max_message_bytes=topic.max_message_bytes + DEAD_LETTER_HEADER_BYTES,
    )


COUNTED: Final = (SIGNATURES, ACTS, MESSAGES)
"""The intake topics whose records become counted actions."""

ALL: Final = (
    *COUNTED,
    *(dead_letter_topic(topic) for topic in COUNTED),
    PETITIONS_PROBES,
    LETTERS_PROBES,
    MARATHON_PROBES,
    PETITIONS_TALLIES,
    LETTERS_TALLIES,
    CASES,
    KEYS,
    ACCESS,
    TOTALS,
    DELIVERIES,
)
BY_NAME: Final = {topic.name: topic for topic in ALL}
COMPACTED: Final = tuple(topic for topic in ALL if topic.compacted)
"""The topics that hold the newest state of each thing: `Catalog` reads them from the start."""
