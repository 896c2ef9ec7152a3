"""What the local mailbox caught, for whoever develops: a list, and each message as a mail program would show it."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from shared.http.problem import Problem
from shared.web.languages import SOURCE, Language
from shared.web.pages import Pages

SHOWN: Final = 100
_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,100}")
_LINK: Final = re.compile(r"(https?://\S+)")
_RENDERED: Final = {
    # Mails bring their style with them; nothing of theirs may run or be fetched.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-popups "
    "allow-top-navigation-by-user-activation; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
_HEADERS: Final = ("From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe")

_parser = BytesParser(policy=policy.default)


@dataclass(frozen=True, slots=True)
class Caught:
    """A message. `text` are its lines, each parted at links: every second part is one."""

    name: str
    headers: tuple[tuple[str, str], ...]
    text: tuple[tuple[str, ...], ...]
    html: str

    @property
    def subject(self) -> str:
        return dict(self.headers).get("Subject", "")

    @property
    def to(self) -> str:
        return dict(self.headers).get("To", "")


def mailbox(folder: Path, pages: Pages) -> APIRouter:
    """The routes of the mailbox that keeps its messages in `folder`. For development only."""
    router = APIRouter(include_in_schema=False)
    language = Language(SOURCE)

    @router.get("/mailbox")
    def listed(request: Request) -> Response:
        files = [file.name for file in folder.glob("*.eml")]
        newest = [_read(folder / name) for name in heapq.nlargest(SHOWN, files)]
        view = {"messages": newest, "count": len(files)}
        return pages.response(request, "mailbox.html", language, store=False, view=view)

    @router.get("/mailbox/{name}")
    def message(request: Request, name: str) -> Response:
        return pages.response(request, "mailbox-message.html", language, store=False, view=_known(folder, name))

    @router.get("/mailbox/{name}/html")
    def rendered(name: str) -> Response:
        return Response(_known(folder, name).html, headers=_RENDERED, media_type="text/html; charset=utf-8")

    return router


def _known(folder: Path, name: str) -> Caught:
    file = folder / f"{name}.eml"
    if not _NAME.fullmatch(name) or not file.is_file():
        raise Problem(404)
    return _read(file)


def _read(file: Path) -> Caught:
    message = _parser.parsebytes(file.read_bytes())
    return Caught(
        name=file.stem,
        headers=tuple((name, str(message[name])) for name in _HEADERS if message[name]),
        text=tuple(tuple(_LINK.split(line)) for line in _body(message, "plain").splitlines()),
        html=_body(message, "html"),
    )


def _body(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    return str(body.get_content()) if body is not None else ""
