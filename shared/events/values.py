"""The values that fields may have, in events, requests and pages alike, and how large they may be."""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["signature", "letter", "postcard", "drawing", "solidarity_message", "share", "pledge", "task"]
MessageKind = Literal["letter", "postcard", "drawing", "solidarity_message"]
ActKind = Literal["share", "pledge", "task"]
Channel = Literal["web", "api", "import", "email", "post", "social", "in_person"]
Evidence = Literal["confirmed", "recorded", "self_reported", "offline"]
Held = Literal["", "quota", "robot", "rule"]
"""Why an action is not counted yet; empty where nothing holds it."""
Purpose = Literal["dedupe", "seal", "token"]
Confirmation = Literal["none", "optional", "required"]
OnePer = Literal["email", "email_and_name"]
TotalsState = Literal["live", "catching_up", "frozen"]
MAX_VALUE_CHARACTERS: Final = 100
"""Limit in characters of a slug, a country, a language or a hash in an event.

It is more than any value of ours needs, and small enough that one of each dimension fits into an index row: 2,704 bytes
in PostgreSQL, at up to four bytes a character.
"""
MAX_PETITION_VERSION: Final = 32_767
"""A row stores a petition's version in two bytes."""
RecoveryReason = Literal["records-lost", "tallies-lost"]
"""The loss in a range that a person declared: the records before they were counted, or the tally batches about them."""
