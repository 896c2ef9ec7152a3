"""The parts of notifications on topics and a database of their own, with a clock that tests set."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.notifications.consumers.submission_decoder import DecodedBatch, SubmissionDecoder
from services.notifications.consumers.submissions import SubmissionHandler
from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.mailing import Mailing
from services.notifications.mailings.confirmation.definition import CONFIRMATION
from services.notifications.sender.compose.composing import Composer
from services.notifications.sender.deliver.attempts import AttemptRunner
from services.notifications.sender.deliver.sending import LEASE, Sender
from services.notifications.sender.deliver.smtp_connection import SmtpConnection
from services.notifications.sender.housekeeping import Housekeeping
from services.notifications.sender.planning import Planner
from services.notifications.settings import Settings
from shared import topics
from shared.catalog import Catalog
from shared.clock import rfc3339
from shared.database import create_pool
from shared.events import cloudevents
from shared.events.actions import ActionConfirmed, ActionWithdrawn
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageSubmitted
from shared.events.marathon import (
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    Petition,
    Policies,
)
from shared.events.petitions import SignatureSubmitted
from shared.events.values import Confirmation, Evidence, MessageKind
from shared.kafka.loop import PositionedLoop
from shared.kafka.outbox import OutboxRelay
from shared.kafka.partitions import partition_of
from shared.privacy import dedupe
from shared.privacy.addresses import canonical_address
from shared.privacy.keys import CampaignKeys, PrivateKeyOpener, PublicKeyWrapper
from shared.privacy.sealing import Person
from tests.support.clock import ManualClock
from tests.support.post_office import SmtpServer

TIMEOUT_S: Final = 30.0
PARTITIONS: Final = 2
MakeTopic = Callable[..., Awaitable[str]]


async def wait_until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until `condition` is true; fail after half a minute."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class PublishedSubmission:
    """A published submission: its position, key and digest."""

    topic: str
    partition: int
    offset: int
    key: bytes
    digest: bytes


@dataclass
class KeyFiles:
    """The key files of a service."""

    folder: Path

    def __post_init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.public_key.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        self.recipient_key.write_text(secrets.token_hex(32))

    @property
    def private_key(self) -> Path:
        return self.folder / "wrapping.key"

    @property
    def public_key(self) -> Path:
        return self.folder / "wrapping.pub"

    @property
    def recipient_key(self) -> Path:
        return self.folder / "recipient.key"


@dataclass
class Upstream:
    """The producers upstream of notifications: campaigns, and intakes that publish on `signatures` and `messages`."""

    bootstrap_servers: str
    producer: AIOKafkaProducer
    catalog: Catalog
    cases: str
    keys: str
    signatures: str
    messages: str
    wrapper: PublicKeyWrapper
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def topics(self) -> tuple[topics.Topic, topics.Topic]:
        """The topics of the intakes."""
        return replace(topics.SIGNATURES, name=self.signatures), replace(topics.MESSAGES, name=self.messages)

    async def campaign(
        self,
        slug: str,
        case: str = "Khaled Drareni",
        *,
        confirmation: Confirmation = "optional",
        safety_mode: bool = False,
        organisation: str = "The organisation",
        sealed_days: int | None = None,
    ) -> str:
        """Publish a campaign with one case and its keys; return its slug. The slug of the case begins with it.

        It opened a day ago, ends after 40 days, confirmations a week later; sealed data goes after `sealed_days`.
        """
        opens = time.time() - 86_400
        await self._publish_state(
            self.cases,
            "campaign-changed",
            f"campaign/{slug}",
            CampaignChanged(
                slug=slug,
                version=1,
                title={"en": "Write", "fr": "Écrire"},
                opens=rfc3339(opens),
                closes=rfc3339(opens + 40 * 86_400),
                confirmations_close=rfc3339(opens + 47 * 86_400),
                goal=None,
                languages=("en", "fr"),
                policies=Policies(confirmation=confirmation, safety_mode=safety_mode),
                cases=(f"{slug}-case",),
                organisation=organisation,
                sealed_until=rfc3339(opens + sealed_days * 86_400)[:10] if sealed_days is not None else None,
            ),
        )
        await self._publish_state(
            self.cases,
            "case-changed",
            f"case/{slug}-case",
            CaseChanged(
                slug=f"{slug}-case",
                version=1,
                campaign=slug,
                name=case,
                country="DZ",
                status="detained",
                story={"en": "..."},
                petition=Petition(
                    slug=f"free-{slug}",
                    version=1,
                    title={"en": f"Free {case}", "fr": f"Libérez {case}"},
                    text={"en": "..."},
                ),
            ),
        )
        for purpose in ("dedupe", "seal", "token"):
            wrapped = b64encode(self.wrapper.create()).decode()
            created = CampaignKeysCreated(
                campaign=slug,
                purpose=purpose,
                version=1,
                wrapped=wrapped,
                created_at=rfc3339(opens),
            )
            await self._publish_state(self.keys, "campaign-keys-created", f"{slug}/{purpose}/1", created)
        await wait_until(lambda: slug in self.catalog.keys and f"{slug}-case" in self.catalog.cases)
        return slug

    async def sign(
        self,
        campaign: str,
        person: Person,
        *,
        petition: str | None = None,
        locale: str = "en",
        evidence: Evidence = "recorded",
        network: str = "home",
        updates: bool = False,
    ) -> PublishedSubmission:
        """Publish a signature as petitions does; `petition` is another than the campaign's own."""
        keys = self.catalog.keys[campaign]
        subject = petition or f"free-{campaign}"
        key = dedupe.signature_key(keys.dedupe, subject, canonical_address(person.email, "2026-11"))
        digest = _digest(keys, person, updates=updates)
        event = SignatureSubmitted(
            campaign=campaign,
            case=f"{campaign}-case",
            section=None,
            kind="signature",
            channel="web",
            country="FR",
            language=locale,
            subject=subject,
            digest=_base64url(digest),
            sealed=keys.sealer.seal(person, topic=self.signatures, subject=subject, key=key),
            seal_key=1,
            locale=locale,
            evidence=evidence,
            network=network,
            updates=updates,
            confirmed_at=rfc3339(time.time()) if evidence == "confirmed" else None,
            petition_version=1,
        )
        return await self._publish_submission(self.signatures, "signature-submitted", key, digest, event)

    async def write(
        self,
        campaign: str,
        person: Person,
        *,
        kind: MessageKind = "letter",
        network: str = "home",
        updates: bool = False,
    ) -> PublishedSubmission:
        """Publish a message as letters does; its text is the person's."""
        keys = self.catalog.keys[campaign]
        subject = f"{campaign}-case"
        address = canonical_address(person.email, "2026-11")
        key = dedupe.message_key(keys.dedupe, subject, kind, address, person.text)
        digest = _digest(keys, person, updates=updates)
        event = MessageSubmitted(
            campaign=campaign,
            case=subject,
            section=None,
            kind=kind,
            channel="web",
            country="FR",
            language="en",
            subject=subject,
            digest=_base64url(digest),
            sealed=keys.sealer.seal(person, topic=self.messages, subject=subject, key=key),
            seal_key=1,
            locale="en",
            network=network,
            updates=updates,
            person=_base64url(dedupe.person_key(keys.dedupe, subject, address)),
            daily_limit=5,
        )
        return await self._publish_submission(self.messages, "message-submitted", key, digest, event)

    async def confirm(self, campaign: str, submission: PublishedSubmission) -> None:
        """Publish the confirmation of a submission."""
        event = ActionConfirmed(
            campaign=campaign, case=f"{campaign}-case", subject=f"free-{campaign}", digest=_base64url(submission.digest)
        )
        await self.publish(
            submission.topic,
            f"{self._event_noun(submission.topic)}-confirmed",
            submission.key,
            msgspec.json.encode(event),
        )

    async def withdraw(self, campaign: str, submission: PublishedSubmission) -> None:
        """Publish the withdrawal of an act."""
        event = ActionWithdrawn(campaign=campaign, case=f"{campaign}-case", subject=f"free-{campaign}")
        await self.publish(
            submission.topic,
            f"{self._event_noun(submission.topic)}-withdrawn",
            submission.key,
            msgspec.json.encode(event),
        )

    async def publish(
        self, topic: str, event: str, key: bytes, value: bytes | None, *, version: str = "1.0"
    ) -> tuple[int, int]:
        """Publish a record on the partition of `key`; return partition and offset."""
        headers = Envelope(event, source="/test", version=version).headers(rfc3339(time.time()).encode())
        partition = partition_of(key, PARTITIONS)
        stored = await self.producer.send_and_wait(topic, value, key=key, partition=partition, headers=headers)
        return partition, stored.offset

    async def redrive(self, submission: PublishedSubmission) -> None:
        """Publish a submission again, as the redrive of a dead letter does."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers)
        await consumer.start()
        try:
            tp = TopicPartition(submission.topic, submission.partition)
            consumer.assign([tp])
            consumer.seek(tp, submission.offset)
            record = await asyncio.wait_for(consumer.getone(), TIMEOUT_S)
        finally:
            await consumer.stop()
        origin = (cloudevents.ORIGIN_HEADER, f"{submission.topic}/{submission.partition}/{submission.offset}".encode())
        await self.producer.send_and_wait(
            submission.topic,
            record.value,
            key=submission.key,
            partition=submission.partition,
            headers=[*record.headers, origin],
        )

    def _event_noun(self, topic: str) -> str:
        return "signature" if topic == self.signatures else "message"

    async def _publish_submission(
        self, topic: str, event_type: str, key: bytes, digest: bytes, event: msgspec.Struct
    ) -> PublishedSubmission:
        partition, offset = await self.publish(topic, event_type, key, msgspec.json.encode(event))
        return PublishedSubmission(topic, partition, offset, key, digest)

    async def _publish_state(self, topic: str, event_type: str, key: str, event: msgspec.Struct) -> None:
        headers = Envelope(event_type, source="/test").headers(rfc3339(time.time()).encode())
        await self.producer.send_and_wait(
            topic, msgspec.json.encode(event), key=key.encode(), partition=0, headers=headers
        )


@dataclass
class NotificationsHarness:
    """Runs the parts of notifications."""

    upstream: Upstream
    smtp_server: SmtpServer
    pool: asyncpg.Pool
    clock: ManualClock
    recipient_keys: RecipientKeys
    settings: Settings
    bootstrap_servers: str
    mailings: Sequence[Mailing] = (CONFIRMATION,)
    group: str = field(default_factory=lambda: f"test.{secrets.token_hex(4)}")

    def create_loop(self) -> PositionedLoop[DecodedBatch]:
        """Create a consumer."""
        return PositionedLoop(
            topics=[self.upstream.signatures, self.upstream.messages],
            group=self.group,
            pool=self.pool,
            bootstrap_servers=self.bootstrap_servers,
            prepare=SubmissionDecoder(
                self.mailings, self.upstream.catalog, self.recipient_keys, self.upstream.topics
            ).decode,
            handle=SubmissionHandler(self.mailings, self.clock).handle,
        )

    def sender_parts(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """Return the functions that plan, send and publish."""
        relay = OutboxRelay(self.pool, self.bootstrap_servers, service="notifications")
        composer = Composer(self.mailings, self.upstream.catalog, self.recipient_keys, self.settings)
        connections = [SmtpConnection(self.settings) for _ in range(4)]
        sender = Sender(self.pool, AttemptRunner(composer, self.clock), connections, self.clock, relay.wake)
        planner = Planner(
            self.pool,
            self.mailings,
            self.upstream.catalog,
            self.recipient_keys,
            self.clock,
            on_planned=sender.wake,
        )
        return (relay.run, sender.run, planner.run)

    def housekeeping(self) -> Housekeeping:
        """Create a housekeeping, whose first run purges."""
        return Housekeeping(self.pool, self.upstream.catalog, self.clock)

    @asynccontextmanager
    async def running(self, *parts: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Run everything, or `parts` alone. A part that fails makes the test fail."""
        tasks = [asyncio.ensure_future(part()) for part in parts or (self.create_loop().run, *self.sender_parts())]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_until_settled(self) -> None:
        """Wait until every record published so far is consumed and every due recipient has been planned for."""
        await self.wait_until_consumed()
        await self.wait_until_planned()

    async def wait_until_consumed(self) -> None:
        """Wait until every record published so far is consumed."""
        ends = await _end_offsets(self.bootstrap_servers, [self.upstream.signatures, self.upstream.messages])

        async def all_consumed() -> bool:
            rows = await self.pool.fetch(
                "SELECT topic, partition, next FROM positions WHERE consumer_group = $1", self.group
            )
            return {(topic, partition): following for topic, partition, following in rows} == ends

        await wait_until(all_consumed)

    async def wait_until_planned(self) -> None:
        """Wait until no recipient is due and no mail is leased."""
        await wait_until(lambda: self._has_no_rows("SELECT FROM recipients WHERE due_at <= to_timestamp($1)"))
        await wait_until(
            lambda: self._has_no_rows(
                "SELECT FROM mails WHERE due_at <= to_timestamp($1) "
                "OR abs(extract(epoch FROM due_at)::float8 - $1 - $2) < 0.001",
                LEASE.total_seconds(),
            )
        )

    async def _has_no_rows(self, query: str, *values: float) -> bool:
        return not await self.pool.fetch(query, self.clock.now(), *values)

    async def delivery_states(self) -> dict[str, int]:
        """Return the number of deliveries in each state."""
        rows = await self.pool.fetch("SELECT state, count(*) FROM deliveries GROUP BY state")
        return {row[0]: row[1] for row in rows}


async def _end_offsets(bootstrap_servers: str, names: Sequence[str]) -> dict[tuple[str, int], int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(name, n) for name in names for n in range(PARTITIONS)])
    finally:
        await consumer.stop()
    return {(tp.topic, tp.partition): offset for tp, offset in ends.items()}


def _digest(keys: CampaignKeys, person: Person, *, updates: bool) -> bytes:
    return dedupe.digest(keys.dedupe, hashlib.sha256(msgspec.json.encode((person, updates))).digest())


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


@asynccontextmanager
async def notifications_harness(
    bootstrap_servers: str,
    database_url: str,
    make_topic: MakeTopic,
    smtp_server: SmtpServer,
    folder: Path,
    *,
    for_processes: bool = False,
) -> AsyncIterator[NotificationsHarness]:
    """Create a harness with topics of its own; nothing runs yet.

    `for_processes` publishes campaigns on the topics that processes read: their slugs must be new then.
    """
    files = KeyFiles(folder)
    if for_processes:
        cases, keys = topics.CASES.name, topics.KEYS.name
    else:
        cases, keys = await make_topic(topics.CASES), await make_topic(topics.KEYS)
    catalog = Catalog(
        bootstrap_servers,
        opener=PrivateKeyOpener(files.private_key),
        source_topics=(replace(topics.CASES, name=cases), replace(topics.KEYS, name=keys)),
    )
    settings = Settings(
        environment="development",
        database_url=database_url,
        kafka_bootstrap_servers=bootstrap_servers,
        wrapping_private_key_file=files.private_key,
        recipient_key_file=files.recipient_key,
        smtp_port=smtp_server.port,
        mail_imprint="The organisation, 1 Example Street",
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    pool = await create_pool(database_url, application_name="test", max_size=8)
    catalog_task = asyncio.ensure_future(catalog.run())
    try:
        await catalog.wait_ready(TIMEOUT_S)
        upstream = Upstream(
            bootstrap_servers=bootstrap_servers,
            producer=producer,
            catalog=catalog,
            cases=cases,
            keys=keys,
            signatures=await make_topic(topics.SIGNATURES, partitions=PARTITIONS),
            messages=await make_topic(topics.MESSAGES, partitions=PARTITIONS),
            wrapper=PublicKeyWrapper(files.public_key),
        )
        yield NotificationsHarness(
            upstream=upstream,
            smtp_server=smtp_server,
            pool=pool,
            # Whole seconds: PostgreSQL and Python do not round every fraction to the same microsecond.
            clock=ManualClock(float(int(time.time()))),
            recipient_keys=RecipientKeys(bytes.fromhex(files.recipient_key.read_text())),
            settings=settings,
            bootstrap_servers=bootstrap_servers,
        )
    finally:
        catalog_task.cancel()
        await asyncio.gather(catalog_task, return_exceptions=True)
        await producer.stop()
        await pool.close()
