"""Tokens in links: signed, dated, self-contained. Verifying one needs no database.

`base64url(campaign) . base64url(body) . base64url(tag)`, where the tag is HMAC-SHA-256 (16 bytes) under the
campaign's token key over everything before it. A token is short enough for one line of a mail as long as it lists few
acts.
"""

from __future__ import annotations

import hmac
from typing import Final, Literal

import msgspec

from shared import base64url

TAG_BYTES: Final = 16
PART_COUNT: Final = 3
MAX_ACTS: Final = 50
MAX_LENGTH: Final = 16_384

TokenPurpose = Literal["confirm", "withdraw"]


class TokenAct(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One act that a link applies to: the submission at `partition`/`offset` of `topic`, and its digest."""

    topic: str
    case: str
    subject: str
    key: bytes
    digest: bytes
    partition: int
    offset: int


class ActToken(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The contents of a link: `purpose`, and the `acts` of one campaign. `issued_at` is in whole seconds since 1970."""

    purpose: TokenPurpose
    campaign: str
    issued_at: int
    acts: tuple[TokenAct, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ActToken).decode


def sign(token: ActToken, token_key: bytes) -> str:
    """Return the text of `token` for a link.

    Raises:
        ValueError: more acts than a link can carry (50).
    """
    if len(token.acts) > MAX_ACTS:
        raise ValueError(f"a token lists at most {MAX_ACTS} acts")
    signed = f"{base64url.encode(token.campaign.encode())}.{base64url.encode(_encode(token))}"
    return f"{signed}.{base64url.encode(_tag(token_key, signed))}"


def campaign_of(text: str) -> str:
    """Return the campaign that `text` names; unproven until `read` has verified the tag.

    Raises:
        ValueError: not in the format of a token.
    """
    return base64url.decode(_split(text)[0]).decode()


def read(text: str, token_key: bytes) -> ActToken:
    """Return the token in `text`.

    Raises:
        ValueError: not a token, not signed with `token_key`, or changed.
    """
    campaign, body, tag = _split(text)
    if not hmac.compare_digest(base64url.decode(tag), _tag(token_key, f"{campaign}.{body}")):
        raise ValueError("not a token of ours")
    try:
        token = _decode(base64url.decode(body))
    except msgspec.MsgspecError:
        raise ValueError("not a token of ours") from None
    if token.campaign.encode() != base64url.decode(campaign):
        raise ValueError("not a token of ours")
    return token


def _tag(token_key: bytes, signed: str) -> bytes:
    return hmac.digest(token_key, b"token|" + signed.encode(), "sha256")[:TAG_BYTES]


def _split(text: str) -> tuple[str, str, str]:
    if len(text) > MAX_LENGTH or not text.isascii() or text.count(".") != PART_COUNT - 1:
        raise ValueError("not a token")
    campaign, body, tag = text.split(".")
    return campaign, body, tag
