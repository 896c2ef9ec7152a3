"""The submitted events that `petitions` emits on `petitions.signatures.v1` and `petitions.acts.v1`."""

from __future__ import annotations

from shared.events.actions import ActionSubmitted


class SignatureSubmitted(ActionSubmitted, frozen=True, kw_only=True):
    """Somebody signed a petition; `subject` is the petition's slug."""

    petition_version: int


class ActSubmitted(ActionSubmitted, frozen=True, kw_only=True):
    """Somebody shared, pledged or did a task for a case; `subject` is the case's slug."""
