"""The links in mails that confirm or withdraw an act. GET shows a page and changes nothing; its button posts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal, get_args

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from shared import base64url
from shared.clock import rfc3339
from shared.events.actions import ActionConfirmed, ActionWithdrawn
from shared.events.cloudevents import Envelope
from shared.events.values import Kind
from shared.http.openapi import json_answer, responses
from shared.intake.campaign_terms import check_confirmations_open, check_ready
from shared.intake.pages import NO_STORE
from shared.intake.process import IntakeProcess
from shared.privacy import tokens
from shared.privacy.tokens import ActToken, TokenAct, TokenPurpose
from shared.refusals import Refusal
from shared.topics import Topic
from shared.web.views.acts import token_view
from shared.web.views.catalog_view import campaign_languages

_encode: Final = msgspec.json.Encoder().encode
_EVENT_ENDINGS: Final[Mapping[TokenPurpose, str]] = {"confirm": "confirmed", "withdraw": "withdrawn"}


class LinkAct(msgspec.Struct, frozen=True):
    """An act that a link is about."""

    case: str
    kind: Kind


class LinkContents(msgspec.Struct, frozen=True):
    """What a link is for."""

    purpose: TokenPurpose
    acts: list[LinkAct]


class LinkPressed(msgspec.Struct, frozen=True):
    """The button of a link was taken for so many acts."""

    status: Literal["accepted"]
    acts: int


def link_routes(process: IntakeProcess, kinds: Mapping[Topic, Kind], prefix: str = "") -> APIRouter:
    """Return the routes `/confirm/{token}` and `/withdraw/{token}`, below the path `prefix`.

    `kinds` are the topics of the acts that links may be about, with what the pages call these acts.
    """
    router = APIRouter()
    for purpose in get_args(TokenPurpose):
        page = _LinkPage(process, kinds, f"{process.base_url}{prefix}", purpose)
        path = f"{prefix}/{purpose}/{{token}}"
        for method, handler, answer in (("GET", page.show, LinkContents), ("POST", page.press, LinkPressed)):
            name = f"{handler.__name__}_{purpose}_link"
            documented = responses(404, 410, 413, 503, answer=answer, page=True)
            router.add_api_route(path, handler, methods=[method], name=name, responses=documented)
    return router


class _LinkPage:
    """The page of one purpose: GET shows it, its button posts."""

    def __init__(
        self, process: IntakeProcess, kinds: Mapping[Topic, Kind], base_url: str, purpose: TokenPurpose
    ) -> None:
        self._process = process
        self._catalog = process.catalog
        self._kinds = {topic.name: kind for topic, kind in kinds.items()}
        self._envelopes = {
            topic.name: Envelope(event, source=f"/{topic.owner}/intake")
            for topic in kinds
            for event in topic.events
            if event.endswith(_EVENT_ENDINGS[purpose])
        }
        self._base_url = base_url
        self._purpose = purpose

    async def show(self, request: Request, token: str) -> Response:
        try:
            decoded = self._read(token)
        except Refusal as refusal:
            return self._show_broken_link(request, refusal)
        if _wants_json(request):
            acts = [LinkAct(case, kind) for case, kind in self._cases(decoded)]
            return json_answer(LinkContents(self._purpose, acts), NO_STORE)
        return self._page_response(request, f"{self._purpose}.html", token, decoded)

    async def press(self, request: Request, token: str) -> Response:
        try:
            decoded = self._read(token)
        except Refusal as refusal:
            return self._show_broken_link(request, refusal)
        await self._append_events(decoded)
        if _wants_json(request):
            return json_answer(LinkPressed("accepted", len(decoded.acts)), NO_STORE)
        return self._page_response(request, f"{_EVENT_ENDINGS[self._purpose]}.html", token, decoded)

    def _read(self, text: str) -> ActToken:
        """Return the token in `text`. A withdrawal is always possible.

        Raises:
            Refusal: 404, it is not one of ours for this purpose; 410, a confirmation counts no longer.
            TransientError: the catalog has not been read, or the campaign has not arrived.
        """
        try:
            keys = self._catalog.keys.get(tokens.campaign_of(text))
            token = tokens.read(text, keys.token) if keys is not None else None
        except ValueError:
            raise _unknown_link() from None
        if token is None:
            check_ready(self._catalog)
            raise _unknown_link()
        if token.purpose != self._purpose or any(act.topic not in self._kinds for act in token.acts):
            raise _unknown_link()
        if self._purpose == "confirm":
            terms = self._process.terms.get(token.campaign)
            check_confirmations_open(terms, self._process.broker_time.now(), self._catalog.totals)
        return token

    async def _append_events(self, token: ActToken) -> None:
        """Append the event of each of the token's acts and wait until all are acknowledged. May be repeated.

        Raises:
            ConnectionError: not all are known to be stored.
        """
        time = rfc3339(self._process.broker_time.now()).encode("ascii")
        appends = [self._append(token.campaign, act, time) for act in token.acts if act.topic in self._envelopes]
        for result in await asyncio.gather(*appends, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _append(self, campaign: str, act: TokenAct, time: bytes) -> None:
        event: ActionConfirmed | ActionWithdrawn
        if self._purpose == "confirm":
            digest = base64url.encode(act.digest)
            event = ActionConfirmed(campaign=campaign, case=act.case, subject=act.subject, digest=digest)
        else:
            event = ActionWithdrawn(campaign=campaign, case=act.case, subject=act.subject)
        headers = self._envelopes[act.topic].headers(time)
        await self._process.batches[act.topic].append_and_wait(act.partition, act.key, _encode(event), headers)

    def _cases(self, token: ActToken) -> list[tuple[str, Kind]]:
        return [(act.case, self._kinds[act.topic]) for act in token.acts]

    def _page_response(self, request: Request, template: str, text: str, token: ActToken) -> Response:
        action = f"{self._base_url}/{self._purpose}/{text}"
        now = self._process.broker_time.now()
        return self._process.pages.show(
            request,
            template,
            lambda language: token_view(self._catalog, self._cases(token), action=action, now=now, language=language),
            languages=campaign_languages(self._catalog, token.acts[0].case if token.acts else None),
            store=False,
        )

    def _show_broken_link(self, request: Request, refusal: Refusal) -> Response:
        if refusal.status != HTTPStatus.NOT_FOUND or _wants_json(request):
            raise refusal
        return self._process.pages.show(request, "link-broken.html", status=404, store=False)


def _unknown_link() -> Refusal:
    return Refusal(404, "unknown-link", "This link does not work: it may be cut off, or too old.")


def _wants_json(request: Request) -> bool:
    """Whether the client asks for JSON rather than a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept
