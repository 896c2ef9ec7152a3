"""Projections: a service's own tables, kept up to date in the counting transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, Protocol

import asyncpg

from shared.counting.event_decoder import SubmissionRecord
from shared.kafka.record_ref import RecordRef

ChangeKind = Literal["opened", "confirmed", "withdrawn", "invalidated", "reinstated", "released"]


class ActionChange(NamedTuple):
    """One event that changed an action, or that confirmed a confirmed action's data again.

    `submission` is the submission that opened the action, at its origin if it was redriven: with `key` it identifies
    the action, also one that was opened again after a withdrawal. `digest` (16 bytes) is that of the submission that
    the event is about; empty for a withdrawal.
    """

    kind: ChangeKind
    key: bytes
    submission: RecordRef
    digest: bytes


class Projection(Protocol):
    """A service's own tables about the actions of one topic."""

    @property
    def kinds(self) -> Collection[ChangeKind]:
        """The changes that `apply` gets. To ask for `opened`, which held actions are too, costs a little for each."""

    def selects(self, submission: SubmissionRecord) -> bool:
        """Whether an action that `submission` opens, alone in its batch, concerns this projection.

        It only saves work: every other change, and each one of a topic with a quota, reaches `apply` unasked.
        """

    async def apply(self, connection: asyncpg.Connection, changes: Sequence[ActionChange]) -> None:
        """Write what `changes` mean: at least one, of one topic, those of one key in the order of their offsets.

        The rows and submissions of the batch are written already. Runs in the counting transaction.
        """

    async def erase(self, connection: asyncpg.Connection, key: bytes) -> None:
        """Delete the personal data of `key`, in the transaction that erases its submissions."""
