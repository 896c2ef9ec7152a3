"""The mail preferences of a person. GET changes nothing, because mail scanners follow every link."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import asyncpg
import msgspec
from fastapi import APIRouter, Form, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from services.notifications.actions.delivery_events import outbox_record
from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.mailing import Mailing
from services.notifications.storage import recipients
from shared.clock import Clock, rfc3339, utc
from shared.database import connected
from shared.events.notifications import DeliveryResubscribed, DeliveryUnsubscribed
from shared.http.openapi import request_body, responses
from shared.kafka.outbox import put_outbox
from shared.web.pages import Pages

NO_STORE: Final = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
ONE_CLICK: Final = b"One-Click"
DONE: Final = {"description": "No more mail", "content": {"text/plain": {"schema": {"type": "string"}}}}


class OneClick(msgspec.Struct):
    """The form that mail programs send (RFC 8058, section 3.1)."""

    one_click: Literal["One-Click"] = msgspec.field(name="List-Unsubscribe")


class Preferences:
    """Preferences, and one-click unsubscription (RFC 8058). `pool` returns the pool once the process has started."""

    def __init__(
        self,
        pool: Callable[[], asyncpg.Pool],
        mailings: Sequence[Mailing],
        recipient_keys: RecipientKeys,
        pages: Pages,
        clock: Clock,
    ) -> None:
        self._until_confirmed = [mailing.name for mailing in mailings if mailing.gathering.until_confirmed]
        self._pool = pool
        self._recipient_keys = recipient_keys
        self._pages = pages
        self._clock = clock

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["preferences"], default_response_class=Response)
        preferences, unsubscription = "/preferences/{token}", "/v1/unsubscribe/{token}"
        page = responses(404, 503, page=True)
        changed = responses(400, 404, 413, 422, 503, form=True)
        done = {**responses(404, 413, 503, form=True), 200: DONE}
        one_click = request_body(form=OneClick, required=False)
        router.get(preferences, name="show_preferences", responses=page)(self.show)
        router.post(preferences, name="change_preferences", status_code=303, responses=changed)(self.change)
        router.get(unsubscription, name="show_unsubscription", status_code=303)(self.show_unsubscription)
        router.post(unsubscription, name="unsubscribe", responses=done, openapi_extra=one_click)(self.unsubscribe)
        return router

    async def show(self, request: Request, token: str) -> Response:
        """Show what is stored about an address, and whether it gets mail. Changes nothing."""
        recipient = self._recipient(token)
        if recipient is None:
            return self._not_found(request)
        async with connected(self._pool()) as connection:
            summary = await recipients.load_summary(connection, recipient, self._until_confirmed)
        action = request.url.path
        return self._pages.show(
            request, "preferences.html", lambda _language: summary, store=False, action=action, address=action
        )

    async def change(self, request: Request, token: str, mail: Annotated[Literal["none", "some"], Form()]) -> Response:
        """Send no more mail to an address (`mail=none`), or send it again (`mail=some`)."""
        recipient = self._recipient(token)
        if recipient is None:
            return self._not_found(request)
        if mail == "none":
            await self._suppress(recipient)
        else:
            await self._unsuppress(recipient)
        return _redirect_to_preferences(request, token)

    async def show_unsubscription(self, request: Request, token: str) -> Response:
        """Lead to the page with the button. Changes nothing."""
        return _redirect_to_preferences(request, token)

    async def unsubscribe(self, request: Request, token: str) -> Response:
        """Send no more mail to an address: one click, no further question. May be repeated."""
        recipient = self._recipient(token)
        if recipient is None:
            return self._not_found(request)
        body = await request.body()
        await self._suppress(recipient)
        if ONE_CLICK in body:
            return PlainTextResponse("No more e-mail goes to this address.\n", headers=NO_STORE)
        return _redirect_to_preferences(request, token)

    def _recipient(self, token: str) -> bytes | None:
        try:
            return self._recipient_keys.read_token(token)
        except ValueError:
            return None

    async def _suppress(self, recipient: bytes) -> None:
        now = self._clock.now()
        async with connected(self._pool()) as connection, connection.transaction():
            if await recipients.suppress(connection, [recipient], utc(now)):
                event = DeliveryUnsubscribed(unsubscribed_at=rfc3339(now))
                await put_outbox(connection, [outbox_record(recipient, event, now)])

    async def _unsuppress(self, recipient: bytes) -> None:
        now = self._clock.now()
        async with connected(self._pool()) as connection, connection.transaction():
            if await recipients.unsuppress(connection, recipient):
                event = DeliveryResubscribed(resubscribed_at=rfc3339(now))
                await put_outbox(connection, [outbox_record(recipient, event, now)])

    def _not_found(self, request: Request) -> Response:
        return self._pages.show(request, "link-broken.html", status=404, store=False)


def _redirect_to_preferences(request: Request, token: str) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"/preferences/{token}{query}", 303, NO_STORE)
