"""Create and revoke API keys for partners. Only their hashes are stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from services.marathon.actions.outbox_records import outbox_record
from services.marathon.storage import access, campaigns
from shared.errors import SetupError
from shared.events.marathon import AccessChanged
from shared.kafka import outbox

SCOPES: Final = ("signatures:batch",)
PREFIX: Final = "mille_"
"""Identifies a leaked key."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key, whose `text` is shown only once, and its stored form."""

    text: str
    access: AccessChanged


async def create_key(
    connection: asyncpg.Connection,
    campaign: str,
    *,
    scopes: Sequence[str],
    section: str | None,
    now: float,
) -> NewKey:
    """Create a key for a partner of `campaign`; actions sent with it count for `section`.

    Raises:
        SetupError: no such campaign, section or scope.
    """
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise SetupError(f"there is no scope {unknown[0]}: there is {', '.join(SCOPES)}")
    async with connection.transaction():
        stored = {each.slug: each for each in await campaigns.all_campaigns(connection)}
        if campaign not in stored:
            raise SetupError(f"there is no campaign {campaign}: import it first")
        sections = [each.slug for each in stored[campaign].sections]
        if section is not None and section not in sections:
            raise SetupError(f"{campaign} has no section {section}: it has {', '.join(sections) or 'none'}")
        text = PREFIX + secrets.token_urlsafe(32)
        key = AccessChanged(
            id=secrets.token_hex(8),
            hash=hashlib.sha256(text.encode()).hexdigest(),
            campaign=campaign,
            scopes=tuple(scopes),
            section=section,
        )
        await access.put(connection, key, now)
        await outbox.put_outbox(connection, [outbox_record(key, now)])
    return NewKey(text, key)


async def revoke_key(connection: asyncpg.Connection, key_id: str, *, now: float) -> AccessChanged:
    """Revoke a key; repeating this changes nothing.

    Raises:
        SetupError: there is no key with this id.
    """
    async with connection.transaction():
        revoked = await access.revoke(connection, key_id)
        if revoked is None:
            raise SetupError(f"there is no key {key_id}: `mille keys list --campaign SLUG` lists them")
        await outbox.put_outbox(connection, [outbox_record(revoked, now)])
    return revoked
