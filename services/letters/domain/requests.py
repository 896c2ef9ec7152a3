"""Requests that letters takes, as the contract names their fields."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from shared import codes
from shared.events.words import MessageKind
from shared.intake import fields
from shared.intake.fields import Word
from shared.intake.person_fields import PERSON_CHECKS, PersonFields, Slug
from shared.intake.requests import RequestDecoder

TEXT_LENGTH: Final = 10_000
"""Some five pages by hand; a longer letter is written as two. The form stops at 8,000, without counting line ends."""
CODE_LENGTH: Final = 40
"""Room for blanks and hyphens between the twelve signs of a code."""
PostedKind = Literal["letter", "postcard"]


class MessageRequest(PersonFields, frozen=True, kw_only=True):
    """A letter, postcard, drawing or solidarity message to the person of a case."""

    case: Slug
    kind: MessageKind
    text: Annotated[str, Meta(min_length=1, max_length=TEXT_LENGTH)]
    language: str
    handwritten: bool = False


class PostedRequest(PersonFields, frozen=True, kw_only=True):
    """A letter or postcard that a person says they posted. `code` is that of the printed sheet; no text is sent."""

    case: Slug
    kind: PostedKind
    code: Annotated[str, Meta(min_length=1, max_length=CODE_LENGTH)]
    language: str


def text(written: str) -> Word:
    """What somebody wrote: several lines, not only blanks."""
    return fields.lines(written) if written.strip() else "empty"


def code(typed: str) -> Word:
    """The code of a sheet, as somebody read it off."""
    try:
        codes.read(typed)
    except ValueError:
        return "invalid"
    return None


POSTED: Final = RequestDecoder(
    PostedRequest, {"case": fields.slug, **PERSON_CHECKS, "code": code, "language": fields.language}
)
MESSAGES: Final = RequestDecoder(
    MessageRequest, {"case": fields.slug, **PERSON_CHECKS, "text": text, "language": fields.language}
)
