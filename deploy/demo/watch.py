"""Looks, while the demo runs, at what everybody can see: the public totals and the mailbox."""

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

LOOK_EVERY_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 120.0
"""So long nothing may move before the demo gives up."""
OK: Final = 200


class Watch:
    """Keeps `figures` current. `documents` are the totals as last read, by campaign."""

    def __init__(
        self, marathon: str, campaigns: tuple[str, ...], mailbox: Mailbox, journal: Journal, figures: Figures
    ) -> None:
        self._addresses = {campaign: f"{marathon}/v1/campaigns/{campaign}/totals" for campaign in campaigns}
        self._mailbox = mailbox
        self._journal = journal
        self._figures = figures
        self.documents: dict[str, dict[str, Any]] = {}

    async def follow(self) -> None:
        """Look again and again until cancelled. A service that is away leaves what was last seen."""
        client = Client()
        try:
            while True:
                for campaign, address in self._addresses.items():
                    await self._look(client, campaign, address)
                self._figures.note(self._journal.acknowledged)
                self._figures.counted = self.counted()
                self._figures.mails = await asyncio.to_thread(self._mailbox.scan)
                await asyncio.sleep(LOOK_EVERY_SECONDS)
        finally:
            client.close()

    def counted(self) -> int:
        """The totals of all campaigns together."""
        return sum(int(document["total"]) for document in self.documents.values())

    def confirmed(self) -> dict[str, int]:
        """How many actions are confirmed, by campaign."""
        return {name: int(document["by_evidence"].get("confirmed", 0)) for name, document in self.documents.items()}

    async def until(self, what: str, done: Callable[[], bool]) -> None:
        """Wait until `done`, as long as anything seen goes on moving.

        Raises:
            DemoError: nothing moved for two minutes; `what` names what was waited for.
        """
        last, moved = self._seen(), time.monotonic()
        while not done():
            await asyncio.sleep(LOOK_EVERY_SECONDS / 2)
            if self._seen() != last:
                last, moved = self._seen(), time.monotonic()
            elif time.monotonic() - moved > PATIENCE_SECONDS:
                raise DemoError(
                    f"waiting for {what}, nothing moved for {PATIENCE_SECONDS:g} s: {self._figures.counted:,} of "
                    f"{self._figures.target:,} counted, {self._figures.mails:,} of {self._figures.mails_target:,} mails"
                )

    def _seen(self) -> tuple[int, int, int]:
        return self._figures.counted, self._figures.mails, sum(self.confirmed().values())

    async def _look(self, client: Client, campaign: str, address: str) -> None:
        try:
            answer = await client.ask("GET", address)
        except (OSError, TimeoutError):
            return
        if answer.status == OK:
            self.documents[campaign] = msgspec.json.decode(answer.body)
            if campaign == next(iter(self._addresses)):
                self._figures.lag_seconds = float(self.documents[campaign]["lag_seconds"])
                self._figures.state = str(self.documents[campaign]["state"])
