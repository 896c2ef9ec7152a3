"""What the counter reads of an event: only what it counts by or keeps, tolerant of everything else."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from shared.clock import parse_rfc3339
from shared.errors import PermanentError
from shared.events.cloudevents import ORIGIN_HEADER, event_type
from shared.events.words import Channel, Evidence, Kind
from shared.kafka.records import Record
from shared.kafka.transitions import State, Then
from shared.topics import Topic

KEY_BYTES: Final = 16
DIGEST_BYTES: Final = 16
LARGEST_VALUE: Final = 256 * 1024
"""Several times what the largest request can become; what is larger is not one of ours."""
MAJOR: Final = 1
ORIGIN_TIME_HEADER: Final = "ce_origintime"
"""When a redriven record was first accepted, RFC 3339. An extension attribute."""

Word = Annotated[str, msgspec.Meta(max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=0, le=32_767)]
Read = TypeVar("Read")
What = Literal["submitted"] | Then


class Submission(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The part of a submitted event that is counted by or kept. Field by field as in `shared/events/actions.py`."""

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
    seal_key: Number
    locale: Word
    evidence: Evidence = "recorded"
    confirmed_at: Word | None = None
    public_name: bool = False
    updates: bool = False
    network: Word = ""
    domain: Word = ""
    petition_version: Number = 0
    person: Word = ""
    daily_limit: int = 0

    @property
    def state(self) -> State:
        """The state that this submission opens a row in."""
        if self.confirmed_at is not None:
            return "c"
        return "s" if self.evidence == "self_reported" else "r"


class Reference(msgspec.Struct, frozen=True, gc=False):
    """The part of a later event that is used: the digest of the submission that a confirmation means."""

    digest: Word = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a redriven record was accepted first."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


def event_names(topic: Topic) -> dict[str, What]:
    """What each event type of a counted topic says: `signature-submitted` says `submitted`."""
    return {name: name.rpartition("-")[2] for name in topic.events}  # type: ignore[misc]


class Reading:
    """Reads the records of one topic."""

    def __init__(self, topic: Topic) -> None:
        self._names = event_names(topic)
        self._topic = topic.name
        self._submission = msgspec.json.Decoder(Submission).decode
        self._reference = msgspec.json.Decoder(Reference).decode

    def what(self, record: Record) -> What:
        """What `record` says, by its headers.

        Raises:
            PermanentError: `not-a-cloudevent`, `unknown-type`, `unknown-version`, `bad-key`, `no-value`, `oversize`.
        """
        name, major = event_type(record.headers)
        what = self._names.get(name)
        if what is None:
            raise PermanentError("unknown-type")
        if major != MAJOR:
            raise PermanentError("unknown-version")
        return what

    def submission(self, value: bytes) -> Submission:
        """The submission that `value` is.

        Raises:
            PermanentError: `unreadable`, `invalid`.
        """
        return _decode(self._submission, value)

    def reference(self, value: bytes) -> Reference:
        """The part of a later event that `value` is.

        Raises:
            PermanentError: `unreadable`, `invalid`.
        """
        return _decode(self._reference, value)

    def origin(self, record: Record, partition: int) -> Origin | None:
        """Where `record` of `partition` stood first, if it was redriven.

        Raises:
            PermanentError: `bad-origin`, where that is nowhere before it in the same partition.
        """
        found = dict(record.headers)
        text = found.get(ORIGIN_HEADER)
        if text is None:
            return None
        try:
            topic, place, offset = text.decode("ascii").split("/")
            origin = Origin(topic, int(place), int(offset), _milliseconds(found.get(ORIGIN_TIME_HEADER), record))
        except ValueError:
            raise PermanentError("bad-origin") from None
        before = 0 <= origin.offset < record.offset and origin.timestamp_ms <= record.timestamp_ms
        if (origin.topic, origin.partition) != (self._topic, partition) or not before:
            raise PermanentError("bad-origin")
        return origin


def check_shape(key: bytes | None, value: bytes | None) -> None:
    """Refuse what cannot be an event of ours before anything reads it.

    Raises:
        PermanentError: `bad-key`, `no-value`, `oversize`.
    """
    if key is None or len(key) != KEY_BYTES:
        raise PermanentError("bad-key")
    if value is None:
        raise PermanentError("no-value")
    if len(value) > LARGEST_VALUE:
        raise PermanentError("oversize")


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def keyed_hash(text: str) -> bytes:
    """The 16 bytes that `text` is the base64url of, padded or not.

    Raises:
        PermanentError: `invalid`, where it is not that.
    """
    try:
        found = binascii.a2b_base64(text.rstrip("=").encode("ascii").translate(_URL_SAFE) + b"==", strict_mode=False)
    except ValueError:
        raise PermanentError("invalid") from None
    if len(found) != DIGEST_BYTES:
        raise PermanentError("invalid")
    return found


def _decode(decoder: Callable[[bytes], Read], value: bytes) -> Read:
    # PostgreSQL's text cannot hold the character 0, which only this escape can bring.
    if b"\\u0000" in value:
        raise PermanentError("invalid")
    try:
        return decoder(value)
    except msgspec.ValidationError:
        raise PermanentError("invalid") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PermanentError("unreadable") from None


def _milliseconds(text: bytes | None, record: Record) -> int:
    return record.timestamp_ms if text is None else int(parse_rfc3339(text.decode("ascii")) * 1000)
