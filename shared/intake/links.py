"""The links in mails, to confirm an act and to take it back. Opening one changes nothing; its button does."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.clock import rfc3339
from shared.errors import TransientError
from shared.events.actions import ActionConfirmed, ActionWithdrawn
from shared.events.cloudevents import Envelope
from shared.events.words import Kind
from shared.intake.campaign_terms import CatalogView, check_confirmations_open, check_ready, terms_of
from shared.intake.openapi import responses
from shared.intake.pages import NO_STORE, IntakePages, wants_json
from shared.kafka.producer_batches import ProducerBatches
from shared.privacy import tokens
from shared.privacy.tokens import ActToken, TokenAct, TokenPurpose
from shared.refusals import Refusal
from shared.web.views import TokenView, token_view

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class EventSpec:
    """An event that can be said of an act: its class and its envelope."""

    event: type[ActionConfirmed | ActionWithdrawn]
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkActions:
    """What the links can do to the acts of one topic. `kind` is what the pages call them."""

    windows: ProducerBatches
    kind: Kind
    confirm: EventSpec | None
    withdraw: EventSpec

    def event_for(self, purpose: TokenPurpose) -> EventSpec | None:
        """The event that a link of `purpose` says."""
        return self.confirm if purpose == "confirm" else self.withdraw


class ActionLinks:
    """Reads tokens and does what they say. `deeds` are by topic, set once windows are open; `now` is the broker's."""

    def __init__(self, known: CatalogView, now: Callable[[], float]) -> None:
        self.actions: Mapping[str, LinkActions] = {}
        self._known = known
        self._now = now

    def read(self, text: str, purpose: TokenPurpose) -> ActToken:
        """The token in `text`, if it is one of ours for `purpose`.

        Raises:
            Refusal: 404, it is not. TransientError: we cannot know yet.
        """
        try:
            keys = self._known.keys.get(tokens.campaign_of(text))
            token = tokens.read(text, keys.token) if keys is not None else None
        except ValueError:
            raise _broken() from None
        if token is None:
            check_ready(self._known)
            raise _broken()
        if token.purpose != purpose or any(act.topic not in self.actions for act in token.acts):
            raise _broken()
        return token

    def check(self, token: ActToken) -> None:
        """Make sure that a confirmation still counts. Taking back is always possible.

        Raises:
            Refusal: 410. TransientError: the campaign has not arrived.
        """
        if token.purpose == "confirm":
            opening = terms_of(self._known, token.campaign)
            check_confirmations_open(opening, self._now(), self._known.totals.get(token.campaign))

    async def press(self, token: ActToken) -> None:
        """Say what the token says of each of its acts; returns when all are acknowledged. May be repeated.

        Raises:
            Refusal: as `check`. ConnectionError: not all are known to be stored.
        """
        self.check(token)
        time = rfc3339(self._now()).encode("ascii")
        puts = [self._put(token, act, time) for act in token.acts]
        results = await asyncio.gather(*puts, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _put(self, token: ActToken, act: TokenAct, time: bytes) -> None:
        deeds = self.actions[act.topic]
        said = deeds.event_for(token.purpose)
        if said is None:
            return
        about: dict[str, Any] = {"campaign": token.campaign, "case": act.case, "subject": act.subject}
        if issubclass(said.event, ActionConfirmed):
            about["digest"] = urlsafe_b64encode(act.digest).rstrip(b"=").decode("ascii")
        value = _encode(said.event(**about))
        await deeds.windows.put(act.partition, act.key, value, said.envelope.headers(time))

    def cases(self, token: ActToken) -> list[tuple[str, Kind]]:
        """What the token's acts are about."""
        return [(act.case, self.actions[act.topic].kind) for act in token.acts]

    def view(self, token: ActToken, action: str, language: str) -> TokenView:
        """The view of a page about the token, whose button posts to `action`."""
        return token_view(self._known, self.cases(token), action=action, now=self._now(), language=language)


def link_routes(links: ActionLinks, pages: IntakePages, base: str) -> APIRouter:
    """The routes `/confirm/{token}` and `/withdraw/{token}` under `base`, an origin with a path or without."""
    router = APIRouter()
    prefix = "/" + base.partition("://")[2].partition("/")[2]
    for purpose in get_args(TokenPurpose):
        page = _Page(links, pages, base, purpose)
        path = f"{prefix.rstrip('/')}/{purpose}/{{token}}"
        shown = responses(404, 410, 503, answer={"type": "object"}, page=True)
        summary = f"The page of a link in a mail: {purpose}"
        router.add_api_route(path, page.show, methods=["GET"], summary=summary, responses=shown)
        router.add_api_route(path, page.press, methods=["POST"], summary=f"Its button: {purpose}", responses=shown)
    return router


class _Page:
    """The page of one purpose: shown by GET, its button pressed by POST."""

    def __init__(self, links: ActionLinks, pages: IntakePages, base: str, purpose: TokenPurpose) -> None:
        self._links = links
        self._pages = pages
        self._base = base
        self._purpose = purpose

    async def show(self, request: Request, token: str) -> Response:
        try:
            found = self._links.read(token, self._purpose)
            self._links.check(found)
        except (Refusal, TransientError) as error:
            return self._failed(request, error)
        if wants_json(request):
            acts = [{"case": case, "kind": kind} for case, kind in self._links.cases(found)]
            return JSONResponse({"purpose": self._purpose, "acts": acts}, headers=NO_STORE)
        return self._shown(request, f"{self._purpose}.html", token, found)

    async def press(self, request: Request, token: str) -> Response:
        try:
            found = self._links.read(token, self._purpose)
            await self._links.press(found)
        except (Refusal, TransientError, ConnectionError) as error:
            return self._failed(request, error)
        if wants_json(request):
            return JSONResponse({"status": "accepted", "acts": len(found.acts)}, headers=NO_STORE)
        done = "confirmed.html" if self._purpose == "confirm" else "withdrawn.html"
        return self._shown(request, done, token, found)

    def _shown(self, request: Request, template: str, text: str, token: ActToken) -> Response:
        action = f"{self._base}/{self._purpose}/{text}"
        case = token.acts[0].case if token.acts else None
        return self._pages.show(
            request, template, case, view=lambda language: self._links.view(token, action, language)
        )

    def _failed(self, request: Request, error: Exception) -> Response:
        if wants_json(request):
            raise error
        if not isinstance(error, Refusal):
            return self._pages.problem(request, 503)
        if error.status == HTTPStatus.NOT_FOUND:
            return self._pages.show(request, "link-broken.html", None, status=404)
        return self._pages.problem(request, error.status)


def _broken() -> Refusal:
    return Refusal(404, "unknown-link", "This link does not work: it may be cut off, or too old.")
