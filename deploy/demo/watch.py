"""Poll the public totals and the mailbox while the demo runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from deploy.demo.client import Client
from deploy.demo.display import Figures
from deploy.demo.mailbox import Mailbox
from deploy.demo.sender import DemoError, Journal

POLL_SECONDS: Final = 0.5
STALL_SECONDS: Final = 120.0
"""The demo gives up after this long without progress."""
OK: Final = 200


class Watch:
    """Keeps `figures` current. `documents` are the last totals, by campaign."""

    def __init__(
        self, marathon: str, campaigns: tuple[str, ...], mailbox: Mailbox, journal: Journal, figures: Figures
    ) -> None:
        self._addresses = {campaign: f"{marathon}/v1/campaigns/{campaign}/totals" for campaign in campaigns}
        self._mailbox = mailbox
        self._journal = journal
        self._figures = figures
        self.documents: dict[str, dict[str, Any]] = {}

    async def follow(self) -> None:
        """Poll until cancelled. While a service is away, its last figures stay."""
        client = Client()
        try:
            while True:
                for campaign, address in self._addresses.items():
                    await self._poll_totals(client, campaign, address)
                self._figures.record_acknowledged(self._journal.acknowledged)
                self._figures.counted = self.counted()
                self._figures.mails = await asyncio.to_thread(self._mailbox.scan)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            client.close()

    def counted(self) -> int:
        """Return the sum of the campaigns' totals."""
        return sum(int(document["total"]) for document in self.documents.values())

    def confirmed(self) -> dict[str, int]:
        """Return the number of confirmed actions, by campaign."""
        return {name: int(document["by_evidence"].get("confirmed", 0)) for name, document in self.documents.items()}

    async def wait_until(self, what: str, done: Callable[[], bool]) -> None:
        """Wait until `done`, as long as there is progress.

        Raises:
            DemoError: no progress for two minutes; `what` names the awaited condition.
        """
        last, moved_at = self._progress(), time.monotonic()
        while not done():
            await asyncio.sleep(POLL_SECONDS / 2)
            if self._progress() != last:
                last, moved_at = self._progress(), time.monotonic()
            elif time.monotonic() - moved_at > STALL_SECONDS:
                raise DemoError(
                    f"waiting for {what}, nothing moved for {STALL_SECONDS:g} s: {self._figures.counted:,} of "
                    f"{self._figures.target:,} counted, {self._figures.mails:,} of {self._figures.mails_target:,} mails"
                )

    def _progress(self) -> tuple[int, int, int]:
        return self._figures.counted, self._figures.mails, sum(self.confirmed().values())

    async def _poll_totals(self, client: Client, campaign: str, address: str) -> None:
        try:
            response = await client.request("GET", address)
        except (OSError, TimeoutError):
            return
        if response.status == OK:
            self.documents[campaign] = msgspec.json.decode(response.body)
            if campaign == next(iter(self._addresses)):
                self._figures.lag_seconds = float(self.documents[campaign]["lag_seconds"])
                self._figures.state = str(self.documents[campaign]["state"])
