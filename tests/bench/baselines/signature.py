"""What both baselines do with a signature: the same validation, keyed hash and sealing as ours, written as most would.

The validation is a pydantic model, the keyed hash and the sealing are the project's own functions.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.privacy.addresses import canonical_address
from shared.privacy.dedupe import signature_key
from shared.privacy.sealing import Person, Sealer

TOPIC: Final = "bench.signatures"
ADDRESS_RULES: Final = "2026-11"
ADDRESS: Final = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]+\.[^@\s\x00-\x1f\x7f]{2,}")
DEDUPE_KEY: Final = hashlib.sha256(b"a dedupe key for the benchmark").digest()
_sealer = Sealer(hashlib.sha256(b"a seal key for the benchmark").digest())


def _plain(value: str) -> str:
    if any(ord(character) < ord(" ") for character in value):
        raise ValueError("control characters")
    return value


def _address(value: str) -> str:
    if not ADDRESS.fullmatch(value):
        raise ValueError("not an e-mail address")
    return value


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_plain)]


class Consent(BaseModel):
    privacy: bool
    updates: bool = False
    public_name: bool = False


class Signature(BaseModel):
    model_config = ConfigDict(strict=True)

    petition: Annotated[str, Field(max_length=80)]
    given_name: Name
    family_name: Name
    email: Annotated[str, Field(max_length=254), AfterValidator(_address)]
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    postcode: Annotated[str, Field(max_length=20)] | None = None
    locale: Annotated[str, Field(max_length=20)]
    consent: Consent
    comment: Annotated[str, Field(max_length=1000), AfterValidator(_plain)] = ""
    source: Annotated[str, Field(max_length=200), AfterValidator(_plain)] = ""


class Sealed(NamedTuple):
    """What is kept of a signature."""

    key: bytes
    sealed: str


def seal(signature: Signature) -> Sealed:
    """The dedupe key of `signature` and its personal fields, sealed."""
    address = canonical_address(signature.email, ADDRESS_RULES)
    key = signature_key(DEDUPE_KEY, signature.petition, address)
    person = Person(
        given_name=signature.given_name,
        family_name=signature.family_name,
        email=signature.email,
        postcode=signature.postcode,
        comment=signature.comment,
        source=signature.source,
    )
    return Sealed(key, _sealer.seal(person, topic=TOPIC, subject=signature.petition, key=key))
