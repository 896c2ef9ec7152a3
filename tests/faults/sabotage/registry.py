"""The list of what can be taken out of a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

SABOTAGES: Final[dict[str, Callable[[], None]]] = {}


def sabotage(change: Callable[[], None]) -> Callable[[], None]:
    """Put a sabotage on the list, under its function's name with hyphens."""
    SABOTAGES[change.__name__.replace("_", "-")] = change
    return change


def patch(owner: Any, name: str, other: Any) -> None:
    """Put `other` in the place of what `owner` has under `name`."""
    assert hasattr(owner, name), f"{owner} has no {name}: a protection is not where this sabotage looks for it"
    setattr(owner, name, other)
