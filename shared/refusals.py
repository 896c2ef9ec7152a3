"""Why a request is refused, in terms of no framework. Nothing in a refusal repeats what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.errors import MilleplumesError


class FieldError(msgspec.Struct, frozen=True, order=True):
    """One field that was refused: where it stands (RFC 6901) and why, as a word such as `email.invalid`."""

    pointer: str
    code: str


class Refusal(MilleplumesError):  # noqa: N818  it is said of what was asked, not of us
    """The request cannot be taken; whoever sends it again unchanged will hear the same.

    `status` is the HTTP status that says so, `code` a kebab-case word, `detail` a sentence for people, `members` what
    else a program may want to know.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.members = dict(members or {})


def invalid(errors: Sequence[FieldError]) -> Refusal:
    """A 422 that names every refused field."""
    return Refusal(422, "invalid", "Some fields were refused.", errors=errors)
