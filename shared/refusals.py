"""Refusals of requests, independent of any web framework. A refusal never repeats what the client sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.errors import MilleplumesError


class FieldError(msgspec.Struct, frozen=True, order=True):
    """One refused field: its JSON pointer (RFC 6901) and the reason, a code such as `email.invalid`."""

    pointer: str
    code: str


class Refusal(MilleplumesError):  # noqa: N818  the request is at fault, not the service
    """The request cannot be accepted, and repeating it unchanged gives the same answer.

    `status` is the HTTP status, `code` a kebab-case word, `detail` a sentence for people, `members` further values for
    programs.
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
    """Return a 422 that names every refused field."""
    return Refusal(422, "invalid", "Some fields were refused.", errors=errors)
