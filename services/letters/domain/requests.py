"""The requests of letters, with the field names of the API."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from shared import codes
from shared.events.values import MessageKind
from shared.intake import fields
from shared.intake.fields import CheckResult
from shared.intake.person_fields import PERSON_CHECKS, NamedPersonFields, Slug
from shared.intake.requests import RequestDecoder

MAX_TEXT_LENGTH: Final = 10_000
"""In characters: some five pages by hand. The form allows 8,000, without counting line ends."""
MAX_CODE_LENGTH: Final = 40
"""In characters: leaves room for blanks and hyphens between the twelve characters of a code."""
PostedKind = Literal["letter", "postcard"]


class MessageRequest(NamedPersonFields, frozen=True, kw_only=True):
    """A letter, postcard, drawing or solidarity message to the person of a case."""

    case: Slug
    kind: MessageKind
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_LENGTH)]
    language: str
    handwritten: bool = False


class PostedRequest(NamedPersonFields, frozen=True, kw_only=True):
    """A letter or postcard that a person says they posted. `code` is that of the printed sheet; no text is sent."""

    case: Slug
    kind: PostedKind
    code: Annotated[str, Meta(min_length=1, max_length=MAX_CODE_LENGTH)]
    language: str


def text(value: str) -> CheckResult:
    """The text of a message: several lines, not only blanks."""
    return fields.lines(value) if value.strip() else "empty"


def code(value: str) -> CheckResult:
    """The code of a sheet, as a person typed it."""
    try:
        codes.parse(value)
    except ValueError:
        return "invalid"
    return None


POSTED: Final = RequestDecoder(
    PostedRequest, {"case": fields.slug, **PERSON_CHECKS, "code": code, "language": fields.language}
)
MESSAGES: Final = RequestDecoder(
    MessageRequest, {"case": fields.slug, **PERSON_CHECKS, "text": text, "language": fields.language}
)
