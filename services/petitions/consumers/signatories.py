"""The signatories: which confirmed signatures show a name, as the submission asks whose link was pressed."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from services.petitions.storage.signatories import hide_names, show_names
from shared.counting.event_decoder import SubmissionRecord
from shared.counting.projections import ActionChange, ChangeKind
from shared.counting.submission_store import find_confirmed


class Signatories:
    """Keeps the table `signatories` in step with the counted `table`."""

    kinds: Sequence[ChangeKind] = ("confirmed",)

    def __init__(self, table: str) -> None:
        self._table = table

    def selects(self, submission: SubmissionRecord) -> bool:
        """A new signature has no name to hide."""
        return submission.public_name

    async def apply(self, connection: asyncpg.Connection, changes: Sequence[ActionChange]) -> None:
        """Show or hide the name of each confirmed signature."""
        topic = changes[0].submission.topic
        confirmed = await find_confirmed(
            connection, self._table, topic, [(change.key, change.digest) for change in changes]
        )
        await hide_names(connection, [submission.key for submission in confirmed if not submission.public_name])
        await show_names(connection, topic, [submission for submission in confirmed if submission.public_name])

    async def erase(self, connection: asyncpg.Connection, key: bytes) -> None:
        """Forget the name of `key`."""
        await hide_names(connection, [key])
