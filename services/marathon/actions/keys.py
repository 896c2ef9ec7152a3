"""API keys for partners: made, listed and revoked. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from services.marathon.actions.announce import Announcements
from services.marathon.storage import access, campaigns
from shared.errors import SetupError
from shared.events.marathon import AccessChanged
from shared.kafka import outbox

SCOPES: Final = ("signatures:batch",)
PREFIX: Final = "mille_"
"""By it a key that leaked is recognised."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that nobody will ever be shown again, and what is kept of it."""

    text: str
    access: AccessChanged


async def create_key(
    connection: asyncpg.Connection,
    campaign: str,
    *,
    scopes: Sequence[str],
    section: str | None,
    announcements: Announcements,
    now: float,
) -> NewKey:
    """Make a key for a partner of `campaign`; what it brings counts for `section`.

    Raises:
        SetupError: no such campaign, section or scope.
    """
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise SetupError(f"there is no scope {unknown[0]}: there is {', '.join(SCOPES)}")
    async with connection.transaction():
        found = {each.slug: each for each in await campaigns.all_campaigns(connection)}
        if campaign not in found:
            raise SetupError(f"there is no campaign {campaign}: import it first")
        sections = [each.slug for each in found[campaign].sections]
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
        await outbox.put_outbox(connection, [announcements.access(key, now)])
    return NewKey(text, key)


async def revoke_key(
    connection: asyncpg.Connection, key_id: str, *, announcements: Announcements, now: float
) -> AccessChanged:
    """End a key; repeating it changes nothing.

    Raises:
        SetupError: there is none with this id.
    """
    async with connection.transaction():
        revoked = await access.revoke(connection, key_id)
        if revoked is None:
            raise SetupError(f"there is no key {key_id}: `mille keys list --campaign SLUG` lists them")
        await outbox.put_outbox(connection, [announcements.access(revoked, now)])
    return revoked
