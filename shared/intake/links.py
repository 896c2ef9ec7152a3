"""The links in mails that confirm or withdraw an act. GET shows a page and changes nothing; its button posts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_args

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared import base64url
from shared.clock import rfc3339
from shared.events.actions import ActionConfirmed, ActionWithdrawn
from shared.events.cloudevents import Envelope
from shared.events.words import Kind
from shared.intake.campaign_terms import CatalogView, check_confirmations_open, check_ready, terms_of
from shared.intake.openapi import responses
from shared.intake.pages import NO_STORE, wants_json
from shared.kafka.producer_batches import ProducerBatches
from shared.privacy import tokens
from shared.privacy.tokens import ActToken, TokenAct, TokenPurpose
from shared.refusals import Refusal
from shared.web.pages import Pages
from shared.web.views.acts import TokenView, token_view
from shared.web.views.catalog_view import campaign_languages

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class EventSpec:
    """An event about an act: its class and its envelope."""

    event: type[ActionConfirmed | ActionWithdrawn]
    envelope: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkActions:
    """The events that links append to one topic. `kind` is what the pages call its acts."""

    kind: Kind
    confirm: EventSpec | None
    withdraw: EventSpec

    def event_for(self, purpose: TokenPurpose) -> EventSpec | None:
        """Return the event that a link of `purpose` appends."""
        return self.confirm if purpose == "confirm" else self.withdraw


class ActionLinks:
    """Reads tokens and appends their events.

    `actions` and `batches` are by topic; the process fills `batches` when it starts. `now` is the broker's time.
    """

    def __init__(
        self,
        actions: Mapping[str, LinkActions],
        catalog: CatalogView,
        batches: Mapping[str, ProducerBatches],
        now: Callable[[], float],
    ) -> None:
        self._actions = actions
        self._catalog = catalog
        self._batches = batches
        self._now = now

    def read(self, text: str, purpose: TokenPurpose) -> ActToken:
        """Return the token in `text`.

        Raises:
            Refusal: 404, it is not one of ours for `purpose`. TransientError: the catalog has not been read.
        """
        try:
            keys = self._catalog.keys.get(tokens.campaign_of(text))
            token = tokens.read(text, keys.token) if keys is not None else None
        except ValueError:
            raise _unknown_link() from None
        if token is None:
            check_ready(self._catalog)
            raise _unknown_link()
        if token.purpose != purpose or any(act.topic not in self._actions for act in token.acts):
            raise _unknown_link()
        return token

    def check(self, token: ActToken) -> None:
        """Make sure that a confirmation still counts. A withdrawal is always possible.

        Raises:
            Refusal: 410. TransientError: the campaign has not arrived.
        """
        if token.purpose == "confirm":
            terms = terms_of(self._catalog, token.campaign)
            check_confirmations_open(terms, self._now(), self._catalog.totals)

    async def execute(self, token: ActToken) -> None:
        """Append the event of each of the token's acts and wait until all are acknowledged. May be repeated.

        Raises:
            Refusal: as `check`. ConnectionError: not all are known to be stored.
        """
        self.check(token)
        time = rfc3339(self._now()).encode("ascii")
        appends = [self._append(token, act, time) for act in token.acts]
        results = await asyncio.gather(*appends, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _append(self, token: ActToken, act: TokenAct, time: bytes) -> None:
        spec = self._actions[act.topic].event_for(token.purpose)
        if spec is None:
            return
        fields: dict[str, Any] = {"campaign": token.campaign, "case": act.case, "subject": act.subject}
        if issubclass(spec.event, ActionConfirmed):
            fields["digest"] = base64url.encode(act.digest)
        value = _encode(spec.event(**fields))
        await self._batches[act.topic].append_and_wait(act.partition, act.key, value, spec.envelope.headers(time))

    def cases(self, token: ActToken) -> list[tuple[str, Kind]]:
        """Return the case and the kind of each of the token's acts."""
        return [(act.case, self._actions[act.topic].kind) for act in token.acts]

    def languages(self, token: ActToken) -> tuple[str, ...]:
        """Return the languages of the token's campaign."""
        return campaign_languages(self._catalog, token.acts[0].case if token.acts else None)

    def view(self, token: ActToken, action: str, language: str) -> TokenView:
        """Return the view of a page about the token, whose button posts to `action`."""
        return token_view(self._catalog, self.cases(token), action=action, now=self._now(), language=language)


def link_routes(links: ActionLinks, pages: Pages, base_url: str) -> APIRouter:
    """Return the routes `/confirm/{token}` and `/withdraw/{token}` under `base_url`, which may have a path."""
    router = APIRouter()
    prefix = "/" + base_url.partition("://")[2].partition("/")[2]
    for purpose in get_args(TokenPurpose):
        page = _LinkPage(links, pages, base_url, purpose)
        path = f"{prefix.rstrip('/')}/{purpose}/{{token}}"
        documented = responses(404, 410, 503, answer={"type": "object"}, page=True)
        summary = f"The page of a link in a mail: {purpose}"
        router.add_api_route(path, page.show, methods=["GET"], summary=summary, responses=documented)
        router.add_api_route(path, page.press, methods=["POST"], summary=f"Its button: {purpose}", responses=documented)
    return router


class _LinkPage:
    """The page of one purpose: GET shows it, its button posts."""

    def __init__(self, links: ActionLinks, pages: Pages, base_url: str, purpose: TokenPurpose) -> None:
        self._links = links
        self._pages = pages
        self._base_url = base_url
        self._purpose = purpose

    async def show(self, request: Request, token: str) -> Response:
        try:
            decoded = self._links.read(token, self._purpose)
            self._links.check(decoded)
        except Refusal as refusal:
            return self._show_broken_link(request, refusal)
        if wants_json(request):
            acts = [{"case": case, "kind": kind} for case, kind in self._links.cases(decoded)]
            return JSONResponse({"purpose": self._purpose, "acts": acts}, headers=NO_STORE)
        return self._page_response(request, f"{self._purpose}.html", token, decoded)

    async def press(self, request: Request, token: str) -> Response:
        try:
            decoded = self._links.read(token, self._purpose)
            await self._links.execute(decoded)
        except Refusal as refusal:
            return self._show_broken_link(request, refusal)
        if wants_json(request):
            return JSONResponse({"status": "accepted", "acts": len(decoded.acts)}, headers=NO_STORE)
        template = "confirmed.html" if self._purpose == "confirm" else "withdrawn.html"
        return self._page_response(request, template, token, decoded)

    def _page_response(self, request: Request, template: str, text: str, token: ActToken) -> Response:
        action = f"{self._base_url}/{self._purpose}/{text}"
        return self._pages.show(
            request,
            template,
            lambda language: self._links.view(token, action, language),
            languages=self._links.languages(token),
            store=False,
        )

    def _show_broken_link(self, request: Request, refusal: Refusal) -> Response:
        if refusal.status != HTTPStatus.NOT_FOUND or wants_json(request):
            raise refusal
        return self._pages.show(request, "link-broken.html", status=404, store=False)


def _unknown_link() -> Refusal:
    return Refusal(404, "unknown-link", "This link does not work: it may be cut off, or too old.")
