"""The common fields of signatures, acts and messages on the wire.

A submitted event carries every dimension of the totals, so that the counter needs no lookup. Personal data is
only in `sealed`. The record's key is the dedupe key (16 bytes), its timestamp the broker's time of acceptance.
"""

from __future__ import annotations

import msgspec

from shared.events.values import Channel, Evidence, Held, Kind


class Dimensions(msgspec.Struct, frozen=True, kw_only=True):
    """The dimensions of a counted action. `country` is ISO 3166-1 alpha-2, `XK`, or `ZZ` where none is known.

    `section` is the API key's, else the one whose countries include the country, else none. `language` is that of the
    text, where there is one, else of the locale.
    """

    campaign: str
    case: str
    section: str | None
    kind: Kind
    channel: Channel
    country: str
    language: str


class ActionSubmitted(Dimensions, frozen=True, kw_only=True):
    """An intake accepted an action.

    `sealed` is base64 of the personal fields, sealed under the campaign's seal key `seal_key` (its version), with
    topic, `subject` and dedupe key as associated data. `digest` is a keyed hash of the submission (base64url, 16
    bytes): equal for equal content of the same person; a confirmation refers to the submission by it.
    `subject` is the petition's or case's slug. `evidence` is `confirmed` where a partner confirmed the address itself
    (then `confirmed_at` says when, RFC 3339), `self_reported` for an act that only the person reports, else
    `recorded`. `network` and `domain` are keyed hashes of the client's network (/24 or /64) and e-mail domain,
    base64url, or empty.

    `held` (from 1.1 on) says why the intake wants the action held: it is not counted until it is released. `acted_at`
    (from 1.1 on, only with channel `import`) is when the person acted, RFC 3339: curves and days use it, whereas
    acceptance and order stay the broker's.
    """

    subject: str
    digest: str
    sealed: str
    seal_key: int
    locale: str
    evidence: Evidence = "recorded"
    confirmed_at: str | None = None
    public_name: bool = False
    updates: bool = False
    network: str = ""
    domain: str = ""
    held: Held = ""
    acted_at: str | None = None


class ActionReference(msgspec.Struct, frozen=True, kw_only=True):
    """The reference to an action in every later event about it; the record's key identifies the person."""

    campaign: str
    case: str
    subject: str


class ActionConfirmed(ActionReference, frozen=True, kw_only=True):
    """The person pressed the link in the e-mail. `digest` identifies the submission of that link."""

    digest: str


class ActionWithdrawn(ActionReference, frozen=True, kw_only=True):
    """The person took the action back."""


class ActionDecided(ActionReference, frozen=True, kw_only=True):
    """A coordinator or an integrity rule decided about an action.

    `digest` identifies the submission that is meant, and `decision` rises with each decision of the service: one that
    is older than the last about this action, or means another submission, changes nothing.
    """

    digest: str
    decision: int


class ActionInvalidated(ActionDecided, frozen=True, kw_only=True):
    """The action was taken out of the count; `reason` is a word, not a text."""

    reason: str


class ActionReinstated(ActionDecided, frozen=True, kw_only=True):
    """An invalidated action counts again, with its current state; `reason` is a word, not a text."""

    reason: str


class ActionReleased(ActionDecided, frozen=True, kw_only=True):
    """A held action counts from now on."""
