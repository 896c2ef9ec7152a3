"""Events that `marathon` emits: campaigns, cases, keys, access and totals."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.events.values import Confirmation, Evidence, OnePer, Purpose, TotalsState

Texts = dict[str, str]
"""A text by language: `{"en": "...", "fr": "..."}`."""


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """The policies of a campaign. `letters_per_person` is a day's limit to one case, above which letters are held.

    `address_rules` is the version of the mailbox rules in shared/privacy/addresses.py, frozen at the campaign's first
    import.
    """

    one_per: OnePer = "email"
    confirmation: Confirmation = "optional"
    public_evidence: tuple[Evidence, ...] = ("confirmed", "recorded", "offline")
    public_threshold: int = 10
    letters_per_person: int = 5
    safety_mode: bool = False
    address_rules: str = "2026-11"


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A partner organisation of a campaign, and the countries whose actions belong to it."""

    slug: str
    name: str
    countries: tuple[str, ...] = ()


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """The contact details of an organisation: `address` holds the lines of its postal address.

    `imprint` is the statement that the law requires; `privacy` holds links to its data-protection text, by language.
    """

    email: str = ""
    address: tuple[str, ...] = ()
    imprint: Texts = {}
    privacy: Texts = {}


class CampaignChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of a campaign.

    Times are RFC 3339; `opens` is inclusive, `closes` exclusive. `version` rises by one with each change. `contact`
    exists from 1.1 on; `tallies_close`, until when paper comes in, and `sealed_until`, the date on which sealed data
    goes, from 1.2 on.
    """

    slug: str
    version: int
    title: Texts
    opens: str
    closes: str
    confirmations_close: str
    goal: int | None
    languages: tuple[str, ...]
    policies: Policies
    cases: tuple[str, ...]
    sections: tuple[Section, ...] = ()
    organisation: str = ""
    contact: Contact | None = None
    tallies_close: str | None = None
    sealed_until: str | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An official to whom a petition is addressed."""

    name: str
    role: str = ""


class Petition(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen, versioned text."""

    slug: str
    version: int
    title: Texts
    text: Texts
    targets: tuple[Target, ...] = ()


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """The postal address for letters of a case.

    `lines` are written on the envelope unchanged, in `language`; `country` is the destination. `version` is the version
    of the case in which the address appeared: it identifies the address that a letter went to.
    """

    version: int
    lines: tuple[str, ...]
    language: str
    country: str


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a place for letters: its `languages` (all if empty), and further `rules` by reader's language."""

    languages: tuple[str, ...] = ()
    rules: dict[str, tuple[str, ...]] = {}


class CaseChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The current state of a case. `version` rises by one with each change; `campaign` is the slug of its campaign.

    `address` (from 1.1 on) is public: everybody may write there by post. Without it, no address is published.
    """

    slug: str
    version: int
    campaign: str
    name: str
    country: str
    status: str
    story: Texts
    summary: Texts = {}
    goal: int | None = None
    facts: tuple[tuple[str, str], ...] = ()
    petition: Petition | None = None
    accepts_messages: bool = True
    address: Address | None = None
    writing: Writing | None = None


class CampaignKeysCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A wrapped key of a campaign: only the private wrapping key opens it. `wrapped` is base64."""

    campaign: str
    purpose: Purpose
    version: int
    wrapped: str
    created_at: str


class AccessChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A partner's API key, hashed (SHA-256, hex). `revoked` ends it."""

    id: str
    hash: str
    campaign: str
    scopes: tuple[str, ...]
    section: str | None = None
    revoked: bool = False


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A public record of a decrease or increase that people's own acts do not explain."""

    at: str
    change: int
    reason: str


class TotalsChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The totals document: absolute values, `version` rises by one.

    `by_section` is empty where the campaign has no sections; its member `none` counts actions without a section.
    """

    campaign: str
    version: int
    as_of: str
    lag_seconds: float
    state: TotalsState
    total: int
    public_total: int
    goal: int | None
    by_case: dict[str, int]
    by_country: dict[str, int]
    by_kind: dict[str, int]
    by_channel: dict[str, int]
    by_language: dict[str, int]
    by_evidence: dict[str, int]
    withdrawn: int
    corrections: list[Correction]
    ledger: dict[str, str]
    rate_per_minute: int = 0
    by_section: dict[str, int] = {}


Event = CampaignChanged | CaseChanged | CampaignKeysCreated | AccessChanged | TotalsChanged
DECODERS: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    "campaign-changed": msgspec.json.Decoder(CampaignChanged),
    "case-changed": msgspec.json.Decoder(CaseChanged),
    "campaign-keys-created": msgspec.json.Decoder(CampaignKeysCreated),
    "access-changed": msgspec.json.Decoder(AccessChanged),
    "totals-changed": msgspec.json.Decoder(TotalsChanged),
}
"""The decoder of each event type, by its name."""
