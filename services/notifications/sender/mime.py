"""A message as bytes: headers that nothing can be injected into, a text and an HTML part. ASCII travels as it is, the
rest in quoted-printable; HTML is always ASCII.

RFC 5322 for the form, RFC 2045 to 2047 for the encodings. Written by hand because the standard library takes twenty
times as long, and mails leave by the thousand.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import b2a_qp
from collections.abc import Iterable
from email.header import Header
from typing import Final

CRLF: Final = b"\r\n"
LONGEST_LINE: Final = 998
"""RFC 5322, 2.1.1."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9 !#$%&'*+/^_`{|}~-]+")
"""A display name that needs no quotes."""


def message(headers: Iterable[tuple[str, str]], *, text: str, html: str, boundary: str) -> bytes:
    """The whole message. `headers` come encoded (see `words` and `mailbox`); `boundary` occurs in neither part."""
    head = [f"{name}: {value}".encode() for name, value in headers]
    mark = b"--" + boundary.encode("ascii")
    return CRLF.join(
        (
            *head,
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/alternative; boundary="' + boundary.encode("ascii") + b'"',
            b"",
            mark,
            *_part("text/plain", text),
            mark,
            *_part("text/html", html.encode("ascii", "xmlcharrefreplace").decode("ascii")),
            mark + b"--",
            b"",
        )
    )


def _part(content_type: str, content: str) -> tuple[bytes, ...]:
    head = f"Content-Type: {content_type}; charset=utf-8".encode()
    lines = content.strip().split("\n")
    if content.isascii() and max(map(len, lines)) <= LONGEST_LINE:
        return (head, b"Content-Transfer-Encoding: 7bit", b"", "\r\n".join(lines).encode("ascii"))
    encoded = b2a_qp("\n".join(lines).encode(), istext=True).replace(b"\n", CRLF)
    return (head, b"Content-Transfer-Encoding: quoted-printable", b"", encoded)


def clean(text: str) -> str:
    """`text` on one line, without control and formatting characters: what may stand in a header or a greeting."""
    if text.isascii() and text.isprintable():
        return text.strip()
    kept = (" " if character.isspace() else character for character in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c)[0] != "C").split())


def words(name: str, text: str) -> str:
    """`text` as the value of the header `name`."""
    text = clean(text)
    return text if text.isascii() else Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def mailbox(name: str, display: str, address: str) -> str:
    """`display <address>` as the value of the header `name`."""
    display = clean(display)
    if not display:
        return address
    if _PLAIN.fullmatch(display):
        return f"{display} <{address}>"
    if display.isascii():
        quoted = display.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{address}>'
    return f"{Header(display, 'utf-8', header_name=name).encode(linesep=chr(13) + chr(10))} <{address}>"
