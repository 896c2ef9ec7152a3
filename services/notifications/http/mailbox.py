"""The local mailbox for development: a list of the messages caught, and each as a mail program would show it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from shared.http.problem import Problem
from shared.web.languages import SOURCE_LANGUAGE
from shared.web.pages import Pages

MAX_SHOWN: Final = 100
LANGUAGES: Final = (SOURCE_LANGUAGE,)
_NAME_PATTERN: Final = re.compile(r"[0-9A-Za-z-]{1,100}")
_LINK_PATTERN: Final = re.compile(r"(https?://\S+)")
_HTML_RESPONSE_HEADERS: Final = {
    # Mails contain their own styles; they may run no script and fetch nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-popups "
    "allow-top-navigation-by-user-activation; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
_SHOWN_HEADERS: Final = ("From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe")

_parser = BytesParser(policy=policy.default)


@dataclass(frozen=True, slots=True)
class CaughtMessage:
    """A message. `text` are its lines, each split at links: every second part is a link."""

    name: str
    headers: Mapping[str, str]
    text: tuple[tuple[str, ...], ...]
    html: str


def mailbox_router(folder: Path, pages: Pages) -> APIRouter:
    """Return the routes of the mailbox whose messages are in `folder`. For development only."""
    router = APIRouter(include_in_schema=False)

    @router.get("/mailbox")
    def show_list(request: Request) -> Response:
        files = [file.name for file in folder.glob("*.eml")]
        newest = [_read_message(folder / name) for name in heapq.nlargest(MAX_SHOWN, files)]
        view = {"messages": newest, "count": len(files)}
        return pages.show(request, "mailbox.html", lambda _language: view, languages=LANGUAGES, store=False)

    @router.get("/mailbox/{name}")
    def show_message(request: Request, name: str) -> Response:
        message = _find_message(folder, name)
        return pages.show(request, "mailbox-message.html", lambda _language: message, languages=LANGUAGES, store=False)

    @router.get("/mailbox/{name}/html")
    def show_html(name: str) -> Response:
        return Response(
            _find_message(folder, name).html, headers=_HTML_RESPONSE_HEADERS, media_type="text/html; charset=utf-8"
        )

    return router


def _find_message(folder: Path, name: str) -> CaughtMessage:
    file = folder / f"{name}.eml"
    if not _NAME_PATTERN.fullmatch(name) or not file.is_file():
        raise Problem(404)
    return _read_message(file)


def _read_message(file: Path) -> CaughtMessage:
    message = _parser.parsebytes(file.read_bytes())
    return CaughtMessage(
        name=file.stem,
        headers={name: str(message[name]) for name in _SHOWN_HEADERS if message[name]},
        text=tuple(tuple(_LINK_PATTERN.split(line)) for line in _body(message, "plain").splitlines()),
        html=_body(message, "html"),
    )


def _body(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    return str(body.get_content()) if body is not None else ""
