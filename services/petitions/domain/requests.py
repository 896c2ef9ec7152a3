"""The requests of petitions, with the field names of the API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from shared.clock import parse_rfc3339
from shared.events.values import ActKind
from shared.intake import documents, fields
from shared.intake.fields import CheckResult
from shared.intake.person_fields import PERSON_CHECKS, NamedPersonFields, PersonFields, Slug, is_plain
from shared.intake.requests import DECODE_ERRORS, RequestDecoder
from shared.refusals import FieldError, Refusal, invalid

MAX_BATCH_ITEMS: Final = 1_000
_MAX_TIMESTAMP_LENGTH: Final = 40
_TIMESTAMP: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
"""RFC 3339, section 5.6."""


class SignatureRequest(NamedPersonFields, frozen=True, kw_only=True):
    """A signature under a petition."""

    petition: Slug


class PartnerSignature(SignatureRequest, frozen=True, kw_only=True):
    """A signature from a partner; `confirmed_at` says when the partner confirmed the address itself."""

    confirmed_at: Annotated[str, Meta(max_length=_MAX_TIMESTAMP_LENGTH)] | None = None


class RawBatch(msgspec.Struct, frozen=True):
    """Signatures from a partner, not decoded yet, so that a bad one does not spoil the others."""

    items: Annotated[list[msgspec.Raw], Meta(max_length=MAX_BATCH_ITEMS)]


class SignatureBatch(msgspec.Struct, frozen=True):
    """Signatures from a partner."""

    items: Annotated[list[PartnerSignature], Meta(max_length=MAX_BATCH_ITEMS)]


_decode_raw_batch: Final = msgspec.json.Decoder(RawBatch).decode
_decode_plain_batch: Final = msgspec.json.Decoder(SignatureBatch).decode
_TOO_MANY: Final = FieldError("/items", "items.too-many")


def read_raw_batch(body: bytes) -> RawBatch:
    """Return the batch in a JSON body; decode its items one by one with `PARTNER_SIGNATURES.decode_item`.

    Raises:
        Refusal: 400 where it is not JSON, 422 where it is no batch.
    """
    documents.check_utf8(body)
    try:
        batch = _decode_raw_batch(body)
    except (msgspec.DecodeError, RecursionError):
        document = documents.parse(body)
    else:
        documents.check_depth(body, apart=batch.items)
        return batch
    if not isinstance(document, dict):
        raise invalid([FieldError("", "body.type")])
    items = document.get("items")
    if isinstance(items, list):
        raise invalid([_TOO_MANY])
    raise invalid([FieldError("/items", "items.missing" if "items" not in document else "items.type")])


def read_plain_batch(body: bytes) -> Sequence[PartnerSignature]:
    """Return the items of a batch of plain signatures only; nothing where each item must be decoded by itself.

    If each item has two braces, its own and that of its consent, and the batch one, nothing is nested too deep.
    """
    try:
        documents.check_utf8(body)
        items = _decode_plain_batch(body).items
    except (Refusal, *DECODE_ERRORS):
        return ()
    is_shallow = body.count(b"{") == 2 * len(items) + 1 and body.count(b"[") == 1
    return items if is_shallow and all(map(_is_plain_partner_signature, items)) else ()


class ActRequest(PersonFields, frozen=True, kw_only=True):
    """A share, a pledge or a task that the person says they did for a case."""

    case: Slug
    kind: ActKind


def timestamp(text: str | None) -> CheckResult:
    """A time of RFC 3339, or none."""
    return None if text is None or _is_timestamp(text) else "invalid"


@lru_cache(maxsize=1_024)
def _is_timestamp(text: str) -> bool:
    if _TIMESTAMP.fullmatch(text) is None:
        return False
    try:
        parse_rfc3339(text.upper())
    except ValueError:
        return False
    return True


def _is_plain_signature(request: SignatureRequest) -> bool:
    return is_plain(request) and request.petition.isprintable()


def _is_plain_partner_signature(request: PartnerSignature) -> bool:
    return _is_plain_signature(request) and timestamp(request.confirmed_at) is None


def _optional_name(text: str | None) -> CheckResult:
    return None if text is None else fields.name(text)


_CHECKS: Final = {"petition": fields.slug, **PERSON_CHECKS}

SIGNATURES: Final = RequestDecoder(SignatureRequest, _CHECKS, is_plain=_is_plain_signature)
PARTNER_SIGNATURES: Final = RequestDecoder(
    PartnerSignature, {**_CHECKS, "confirmed_at": timestamp}, is_plain=_is_plain_partner_signature
)
ACTS: Final = RequestDecoder(
    ActRequest,
    {"case": fields.slug, **PERSON_CHECKS, "given_name": _optional_name, "family_name": _optional_name},
)
