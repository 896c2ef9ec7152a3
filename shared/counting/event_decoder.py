"""What the counter reads of an event: only what it counts by or keeps, tolerant of everything else."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec

from shared.clock import parse_rfc3339
from shared.counting.fold import Quota
from shared.counting.transitions import FollowUpType, State
from shared.errors import PermanentError
from shared.events.cloudevents import ORIGIN_HEADER, UNREADABLE, event_type
from shared.events.words import LARGEST_VERSION, LONGEST_WORD, Channel, Kind
from shared.kafka.records import Record
from shared.topics import Topic

KEY_BYTES: Final = 16
DIGEST_BYTES: Final = 16
LARGEST_VALUE: Final = 256 * 1024
"""Several times what the largest request can become; what is larger is not one of ours."""
MAJOR: Final = 1
URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
"""Turns base64url into base64."""
NUL: Final = b"\\u0000"
"""PostgreSQL's text cannot hold the character 0, which only this escape can bring."""
HEADER_PREFIXES: Final = 256
"""So many beginnings of headers are remembered: a few for each producing process."""
ORIGIN_TIME_HEADER: Final = "ce_origintime"
"""When a redriven record was first accepted, RFC 3339. An extension attribute."""

Word = Annotated[str, msgspec.Meta(max_length=LONGEST_WORD)]
Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_VERSION)]
Read = TypeVar("Read")
EventWord = Literal["submitted"] | FollowUpType


class SubmissionRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    evidence: Literal["confirmed", "recorded", "self_reported"] = "recorded"
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

    @property
    def quota(self) -> Quota | None:
        """Whose daily limit it falls under.

        Raises:
            PermanentError: `invalid`, where the person key is not one.
        """
        return Quota(keyed_hash(self.person), self.daily_limit) if self.person else None

    def check_person(self) -> None:
        """Refuse a person key that is none.

        Raises:
            PermanentError: `invalid`.
        """
        if self.person:
            keyed_hash(self.person)


class Reference(msgspec.Struct, frozen=True, gc=False):
    """The part of a later event that is used: the digest of the submission that a confirmation means."""

    digest: Word = ""


class Origin(NamedTuple):
    """Where in its partition, and when, a redriven record was accepted first."""

    offset: int
    timestamp_ms: int


def event_names(topic: Topic) -> dict[str, EventWord]:
    """What each event type of a counted topic says: `signature-submitted` says `submitted`."""
    return {name: name.rpartition("-")[2] for name in topic.events}  # type: ignore[misc]


class EventDecoder:
    """Reads the records of one topic."""

    def __init__(self, topic: Topic) -> None:
        self._names = event_names(topic)
        self._topic = topic.name
        self._submission = msgspec.json.Decoder(SubmissionRecord).decode
        self._reference = msgspec.json.Decoder(Reference).decode
        self._usual: dict[bytes, EventWord] = {}

    def decode_headers(self, record: Record, partition: int) -> tuple[EventWord, Origin | None]:
        """What `record` of `partition` says, and where it stood first if it was redriven, by its headers.

        Raises:
            PermanentError: `not-a-cloudevent`, `unknown-type`, `unknown-version`, `bad-origin`.
        """
        packed = record.packed_headers
        at = packed.find(_ID)
        if (usual := self._usual.get(packed[:at])) and _ends_in_id_and_time(packed, at):
            return usual, None
        headers = record.headers
        name, major = event_type(headers)
        what = self._names.get(name)
        if what is None:
            raise PermanentError("unknown-type")
        if major != MAJOR:
            raise PermanentError("unknown-version")
        found = dict(headers)
        if ORIGIN_HEADER in found:
            return what, read_origin(found, self._topic, partition, Origin(record.offset, record.timestamp_ms))
        if at > 0 and _ends_in_id_and_time(packed, at) and len(self._usual) < HEADER_PREFIXES:
            self._usual[packed[:at]] = what
        return what, None

    def is_plain_submission(self, packed: bytes) -> bool:
        """Whether packed headers are those of a plain submission, of a kind that `headers` has read before."""
        at = packed.find(_ID)
        return self._usual.get(packed[:at]) == "submitted" and _ends_in_id_and_time(packed, at)

    def decode_submission(self, value: bytes) -> SubmissionRecord:
        """The submission that `value` is.

        Raises:
            PermanentError: `unreadable`, `invalid`.
        """
        return _decode(self._submission, value)

    def decode_reference(self, value: bytes) -> Reference:
        """The part of a later event that `value` is.

        Raises:
            PermanentError: `unreadable`, `invalid`.
        """
        return _decode(self._reference, value)


_ID: Final = b"\x0ace_id"
_TIME: Final = b"\x0ece_time\x30"


def _ends_in_id_and_time(packed: bytes, at: int) -> bool:
    """Whether packed headers end, from `at`, in one short `ce_id` and a `ce_time` of 24 bytes, as our envelopes do.

    What stands before is then the same in all records of a process, and is read only once.
    """
    id_length = len(packed) - at - 40
    return 0 <= id_length < 0x40 and packed[at + 6] == id_length << 1 and packed[-33:-24] == _TIME  # noqa: PLR2004


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


def keyed_hash(text: str) -> bytes:
    """The 16 bytes that `text` is the base64url of, padded or not.

    Raises:
        PermanentError: `invalid`, where it is not that.
    """
    try:
        found = binascii.a2b_base64(text.rstrip("=").encode("ascii").translate(URL_SAFE) + b"==", strict_mode=False)
    except ValueError:
        raise PermanentError("invalid") from None
    if len(found) != DIGEST_BYTES:
        raise PermanentError("invalid")
    return found


def _decode(decoder: Callable[[bytes], Read], value: bytes) -> Read:
    if NUL in value:
        raise PermanentError("invalid")
    try:
        return decoder(value)
    except msgspec.ValidationError:
        raise PermanentError("invalid") from None
    except UNREADABLE:
        raise PermanentError("unreadable") from None


def read_origin(headers: Mapping[str, bytes], topic: str, partition: int, here: Origin) -> Origin:
    """Where a record that stands `here`, redriven, stood first: before that in the same partition, nowhere else.

    Raises:
        PermanentError: `bad-origin`.
    """
    try:
        named, place, offset = headers[ORIGIN_HEADER].decode("ascii").split("/")
        origin = Origin(int(offset), _accepted(headers.get(ORIGIN_TIME_HEADER), here))
    except ValueError:
        raise PermanentError("bad-origin") from None
    if (named, place) != (topic, str(partition)) or not 0 <= origin.offset < here.offset:
        raise PermanentError("bad-origin")
    return origin


def _accepted(text: bytes | None, here: Origin) -> int:
    """When a redriven record was accepted first, never later than it was redriven."""
    if text is None:
        return here.timestamp_ms
    return min(here.timestamp_ms, int(parse_rfc3339(text.decode("ascii")) * 1000))
