"""Decodes events as the counter needs them: only the fields that it counts by or stores, tolerant of all others."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec

from shared.clock import parse_rfc3339
from shared.counting.transitions import DECISIONS, FollowUpType, State
from shared.errors import PermanentError
from shared.events.cloudevents import DECODE_ERRORS, ORIGIN_HEADER, parse_event_type
from shared.events.values import MAX_PETITION_VERSION, MAX_VALUE_CHARACTERS, Channel, Held, Kind
from shared.kafka.origins import Origin, decode_origin
from shared.kafka.records import Record
from shared.topics import Topic

KEY_BYTES: Final = 16
DIGEST_BYTES: Final = 16
MAX_VALUE_BYTES: Final = 256 * 1024
"""Several times what the largest request can become; no intake of ours writes a larger value."""
SUPPORTED_MAJOR: Final = 1
BASE64URL_TO_BASE64: Final = bytes.maketrans(b"-_", b"+/")
"""A translation table."""
ESCAPED_NUL: Final = b"\\u0000"
"""PostgreSQL's text cannot store the character 0, which can enter only by this escape."""
MAX_HEADER_PREFIXES: Final = 256
"""How many beginnings of packed headers are remembered: a few for each producing process."""

Word = Annotated[str, msgspec.Meta(max_length=MAX_VALUE_CHARACTERS)]
SmallInt = Annotated[int, msgspec.Meta(ge=0, le=MAX_PETITION_VERSION)]
Decoded = TypeVar("Decoded")
EventType = Literal["submitted"] | FollowUpType


class SubmissionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fields of a submitted event that are counted by or stored, each as in `shared/events/actions.py`."""

    campaign: Word
    case: Word
    section: Word | None = None
    kind: Kind
    channel: Channel
    country: Word
    language: Word
    subject: Word
    digest: Word
    sealed: bytes
    seal_key: SmallInt
    locale: Word
    evidence: Literal["confirmed", "recorded", "self_reported"] = "recorded"
    confirmed_at: Word | None = None
    public_name: bool = False
    updates: bool = False
    network: Word = ""
    domain: Word = ""
    petition_version: SmallInt = 0
    person: Word = ""
    daily_limit: int = 0
    held: Held = ""
    acted_at: Word | None = None

    @property
    def state(self) -> State:
        """The state that this submission opens a row in."""
        if self.confirmed_at is not None:
            return "c"
        return "s" if self.evidence == "self_reported" else "r"

    def minute(self, accepted_ms: int) -> int:
        """The minute that it is counted in: when the person acted if an import says so, else its acceptance.

        Raises:
            PermanentError: `invalid`, where `acted_at` is no time, or comes through another channel.
        """
        if self.acted_at is None:
            return accepted_ms // 60_000
        if self.channel != "import":
            raise PermanentError("invalid")
        try:
            return int(parse_rfc3339(self.acted_at)) // 60
        except ValueError:
            raise PermanentError("invalid") from None

    def check_person(self) -> None:
        """Refuse a malformed person key.

        Raises:
            PermanentError: `invalid`.
        """
        if self.person:
            decode_keyed_hash(self.person)


class Reference(msgspec.Struct, frozen=True, gc=False):
    """The fields of a later event that are used: the digest of the submission that it is about and, of a decision, its
    number and the word for the public record.
    """

    digest: Word = ""
    decision: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    reason: Word = ""

    def check(self, event_type: FollowUpType) -> None:
        """Refuse a confirmation or decision without a digest, and a decision without a number, or with a reason that is
        no word.

        Raises:
            PermanentError: `invalid`.
        """
        decided = self.decision and _REASON.fullmatch(self.reason)
        if (event_type != "withdrawn" and not self.digest) or (event_type in DECISIONS and not decided):
            raise PermanentError("invalid")


_REASON: Final = re.compile(r"(?:[a-z][a-z0-9-]{0,39})?")


class DecodedRecord(NamedTuple):
    """A record with its decoded content.

    It is a `submission` with its digest, counted in `minute`; or a `follow_up` to the submission of that digest, with
    its `reference`; or it cannot be counted for the reason `refusal`. `origin` is set if it was redriven.
    """

    partition: int
    record: Record
    submission: SubmissionRecord | None = None
    digest: bytes = b""
    minute: int = 0
    follow_up: FollowUpType | None = None
    reference: Reference | None = None
    origin: Origin | None = None
    refusal: str = ""

    @property
    def key(self) -> bytes:
        """The dedupe key; empty where the record has no valid one."""
        key = self.record.key
        return key if key is not None and len(key) == KEY_BYTES else b""

    @property
    def accepted_ms(self) -> int:
        """When the record was first accepted, by the broker's clock."""
        return self.origin.timestamp_ms if self.origin else self.record.timestamp_ms


def event_types(topic: Topic) -> dict[str, EventType]:
    """The action of each CloudEvents type of a counted topic: `submitted` for `signature-submitted`."""
    return {name: name.rpartition("-")[2] for name in topic.events}  # type: ignore[misc]


class EventDecoder:
    """Decodes the records of one topic."""

    def __init__(self, topic: Topic) -> None:
        self._types = event_types(topic)
        self._topic = topic.name
        self._submission = msgspec.json.Decoder(SubmissionRecord).decode
        self._reference = msgspec.json.Decoder(Reference).decode
        self._type_by_prefix: dict[bytes, EventType] = {}

    def decode(self, partition: int, record: Record) -> DecodedRecord:
        """Decode one record; the reason why it cannot be read becomes its `refusal`."""
        origin = None
        try:
            event_type, origin = self.decode_headers(record, partition)
            check_shape(record.key, record.value)
            if event_type == "submitted":
                submission = self.decode_submission(record.value or b"")
                submission.check_person()
                digest = decode_keyed_hash(submission.digest)
                minute = submission.minute(origin.timestamp_ms if origin else record.timestamp_ms)
                return DecodedRecord(partition, record, submission, digest, minute, origin=origin)
            reference = self.decode_reference(record.value or b"")
            reference.check(event_type)
            digest = decode_keyed_hash(reference.digest) if reference.digest else b""
        except PermanentError as error:
            return DecodedRecord(partition, record, origin=origin, refusal=error.reason)
        return DecodedRecord(partition, record, digest=digest, follow_up=event_type, reference=reference, origin=origin)

    def decode_headers(self, record: Record, partition: int) -> tuple[EventType, Origin | None]:
        """The event type of `record` in `partition` and, if it was redriven, its origin, from its headers.

        Raises:
            PermanentError: `not-a-cloudevent`, `unknown-type`, `unknown-version`, `bad-origin`.
        """
        packed = record.packed_headers
        at = packed.find(_ID_HEADER)
        if (remembered := self._type_by_prefix.get(packed[:at])) and _ends_in_id_and_time(packed, at):
            return remembered, None
        headers = record.headers
        name, major = parse_event_type(headers)
        event_type = self._types.get(name)
        if event_type is None:
            raise PermanentError("unknown-type")
        if major != SUPPORTED_MAJOR:
            raise PermanentError("unknown-version")
        by_name = dict(headers)
        if ORIGIN_HEADER in by_name:
            current = Origin(record.offset, record.timestamp_ms)
            return event_type, decode_origin(by_name, self._topic, partition, current)
        if at > 0 and _ends_in_id_and_time(packed, at) and len(self._type_by_prefix) < MAX_HEADER_PREFIXES:
            self._type_by_prefix[packed[:at]] = event_type
        return event_type, None

    def is_plain_submission(self, packed_headers: bytes) -> bool:
        """Whether packed headers are those of a submission whose beginning `decode_headers` has remembered."""
        at = packed_headers.find(_ID_HEADER)
        return self._type_by_prefix.get(packed_headers[:at]) == "submitted" and _ends_in_id_and_time(packed_headers, at)

    def decode_submission(self, value: bytes) -> SubmissionRecord:
        """Decode the value of a submitted event.

        Raises:
            PermanentError: `unreadable`, `invalid`.
        """
        return _decode(self._submission, value)

    def decode_reference(self, value: bytes) -> Reference:
        """Decode the value of a later event.

        Raises:
            PermanentError: `unreadable`, `invalid`.
        """
        return _decode(self._reference, value)


_ID_HEADER: Final = b"\x0ace_id"
_TIME_HEADER: Final = b"\x0ece_time\x30"


def _ends_in_id_and_time(packed: bytes, at: int) -> bool:
    """Whether packed headers end, from `at`, in one short `ce_id` and a `ce_time` of 24 bytes, as our envelopes do.

    The headers before them are then the same in all records of a process, and are decoded only once.
    """
    id_length = len(packed) - at - 40
    return 0 <= id_length < 0x40 and packed[at + 6] == id_length << 1 and packed[-33:-24] == _TIME_HEADER  # noqa: PLR2004


def check_shape(key: bytes | None, value: bytes | None) -> None:
    """Refuse a record that cannot be an event of ours, before its value is decoded.

    Raises:
        PermanentError: `bad-key`, `no-value`, `oversize`.
    """
    if key is None or len(key) != KEY_BYTES:
        raise PermanentError("bad-key")
    if value is None:
        raise PermanentError("no-value")
    if len(value) > MAX_VALUE_BYTES:
        raise PermanentError("oversize")


def decode_keyed_hash(text: str) -> bytes:
    """Decode 16 bytes from base64url, padded or not.

    Raises:
        PermanentError: `invalid`, where `text` is anything else.
    """
    try:
        digest = binascii.a2b_base64(
            text.rstrip("=").encode("ascii").translate(BASE64URL_TO_BASE64) + b"==", strict_mode=False
        )
    except ValueError:
        raise PermanentError("invalid") from None
    if len(digest) != DIGEST_BYTES:
        raise PermanentError("invalid")
    return digest


def _decode(decoder: Callable[[bytes], Decoded], value: bytes) -> Decoded:
    if ESCAPED_NUL in value:
        raise PermanentError("invalid")
    try:
        return decoder(value)
    except msgspec.ValidationError:
        raise PermanentError("invalid") from None
    except DECODE_ERRORS:
        raise PermanentError("unreadable") from None
