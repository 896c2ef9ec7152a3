"""What can be taken out of the sending of mails."""

from __future__ import annotations

import secrets
from typing import Any

from tests.faults.sabotage.registry import patch, sabotage


@sabotage
def new_message_ids() -> None:
    """Each attempt to send a mail makes a new message of it."""
    from services.notifications.sender.compose.composing import Composer

    headers = Composer._headers

    def fresh(self: Any, mail: Any, view: Any, to: str) -> Any:
        found = headers(self, mail, view, to)
        return [
            (name, f"<{secrets.token_hex(8)}@example.org>" if name == "Message-ID" else text) for name, text in found
        ]

    patch(Composer, "_headers", fresh)


@sabotage
def asks_slow_domains_again() -> None:
    """The sender tries each mail to a domain that says "not now"."""
    from services.notifications.sender.deliver.slow_domains import SlowDomains

    def never(*_: object) -> None: ...

    patch(SlowDomains, "deferred_until", never)


@sabotage
def forgets_bounces() -> None:
    """A mailbox that is gone is written to again."""
    from services.notifications.storage import recipients

    async def forget(*_: object) -> None: ...

    patch(recipients, "mark_gone", forget)
