"""Events that `petitions` emits on `petitions.signatures.v1` and `petitions.acts.v1`."""

from __future__ import annotations

from shared.events.actions import (
    ActionConfirmed,
    ActionInvalidated,
    ActionReinstated,
    ActionReleased,
    ActionSubmitted,
    ActionWithdrawn,
)


class SignatureSubmitted(ActionSubmitted, frozen=True, kw_only=True):
    """Somebody signed a petition; `subject` is the petition's slug."""

    petition_version: int


class SignatureConfirmed(ActionConfirmed, frozen=True, kw_only=True):
    """The signer pressed the link."""


class SignatureWithdrawn(ActionWithdrawn, frozen=True, kw_only=True):
    """The signer took the signature back."""


class SignatureInvalidated(ActionInvalidated, frozen=True, kw_only=True):
    """The signature was taken out of the count."""


class SignatureReinstated(ActionReinstated, frozen=True, kw_only=True):
    """The signature counts again."""


class SignatureReleased(ActionReleased, frozen=True, kw_only=True):
    """A held signature counts from now on."""


class ActSubmitted(ActionSubmitted, frozen=True, kw_only=True):
    """Somebody shared, pledged or did a task for a case; `subject` is the case's slug."""


class ActWithdrawn(ActionWithdrawn, frozen=True, kw_only=True):
    """The person took the act back."""


class ActInvalidated(ActionInvalidated, frozen=True, kw_only=True):
    """The act was taken out of the count."""


class ActReinstated(ActionReinstated, frozen=True, kw_only=True):
    """The act counts again."""


class ActReleased(ActionReleased, frozen=True, kw_only=True):
    """A held act counts from now on."""
