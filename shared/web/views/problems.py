"""Error pages. They say what to do, and never repeat what the client sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemView:
    """An HTTP status that the template describes, and the seconds after which to try again."""

    status: int
    retry_after: int | None = None


def problem_view(status: int, *, retry_after: int | None = None) -> ProblemView:
    """Return the page of an HTTP error status."""
    return ProblemView(status, retry_after)
