"""The words of the contract that events, requests and pages share."""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["signature", "letter", "postcard", "drawing", "solidarity_message", "share", "pledge", "task"]
MessageKind = Literal["letter", "postcard", "drawing", "solidarity_message"]
ActKind = Literal["share", "pledge", "task"]
Channel = Literal["web", "api", "import", "email", "post", "social", "in_person"]
Evidence = Literal["confirmed", "recorded", "self_reported", "offline"]
Purpose = Literal["dedupe", "seal", "token"]
Confirmation = Literal["none", "optional", "required"]
OnePer = Literal["email", "email_and_name"]
TotalsState = Literal["live", "catching_up", "frozen"]
LONGEST_WORD: Final = 100
"""Characters of a slug, a country, a language, a hash in an event. Longer than any of ours, and short enough that one
of each dimension fits into a row of an index: 2,704 bytes in PostgreSQL, at up to four a character.
"""
LARGEST_VERSION: Final = 32_767
"""A petition's version stands in two bytes of each row."""
Recovered = Literal["records-lost", "tallies-lost"]
"""What was lost of a range that a person declared: the records before they were counted, or what counting them told."""
