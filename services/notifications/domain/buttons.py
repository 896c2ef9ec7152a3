"""Which acts of a mail share a button: one for all signatures of a campaign, one for all its messages.

Two services confirm them, hence two. Other data for an act that is already known has a button of its own, so that who
presses the first button vouches for nothing that a stranger may have typed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.notifications.domain.plan import Place
from shared.events.words import Kind
from shared.privacy.sealing import Person
from shared.privacy.tokens import MAX_ACTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act that a mail asks to confirm. `at` is the broker's time in seconds since 1970."""

    place: Place
    campaign: str
    case: str
    subject: str
    kind: Kind
    key: bytes
    digest: bytes
    other_data: bool
    at: float
    person: Person


@dataclass(frozen=True, slots=True)
class Button:
    """Acts of one campaign and one service, confirmed together."""

    acts: tuple[Act, ...]
    other_data: bool = False

    @property
    def campaign(self) -> str:
        return self.acts[0].campaign

    @property
    def signatures(self) -> bool:
        """Whether petitions confirms them; letters does the others."""
        return self.acts[0].kind == "signature"


def buttons(acts: Iterable[Act]) -> list[Button]:
    """The buttons of a mail that covers `acts`: by campaign, signatures before messages, other data last."""
    shared: dict[tuple[str, bool], list[Act]] = {}
    own: list[Act] = []
    for act in sorted(acts, key=lambda act: (act.at, act.place)):
        if act.other_data:
            own.append(act)
        else:
            shared.setdefault((act.campaign, act.kind != "signature"), []).append(act)
    together = [
        Button(tuple(group[start : start + MAX_ACTS]))
        for _, group in sorted(shared.items())
        for start in range(0, len(group), MAX_ACTS)
    ]
    return [*together, *(Button((act,), other_data=True) for act in own)]
