"""Pages for what did not work. They say what to do, and never repeat what was sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A status the template has words for, and after how many seconds it is worth another try."""

    status: int
    retry_after: int | None = None


def problem_view(status: int, *, retry_after: int | None = None) -> ProblemView:
    """The page of an HTTP error status."""
    return ProblemView(status, retry_after)
