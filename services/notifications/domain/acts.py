"""Acts as mails speak of them, and which share a button: one for all signatures of a campaign, one for all messages.

Two services confirm them, hence two. Other data for a known act gets a button of its own, so that a person who presses
the first button does not confirm what a stranger may have typed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.events.values import Kind
from shared.kafka.record_ref import RecordRef
from shared.privacy.sealing import Person
from shared.privacy.tokens import MAX_ACTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One act that a mail is about, opened.

    `record` made its delivery; `at` is the broker's time of that, in seconds since 1970.
    """

    record: RecordRef
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
    def for_signatures(self) -> bool:
        """Whether petitions confirms the acts; otherwise letters does."""
        return self.acts[0].kind == "signature"


def group_acts(acts: Iterable[Act]) -> list[Button]:
    """Group the acts of a mail into buttons: by campaign, signatures before messages, other data last."""
    by_campaign: dict[tuple[str, bool], list[Act]] = {}
    separate: list[Act] = []
    for act in sorted(acts, key=lambda act: (act.at, act.record)):
        if act.other_data:
            separate.append(act)
        else:
            by_campaign.setdefault((act.campaign, act.kind != "signature"), []).append(act)
    shared = [
        Button(tuple(group[start : start + MAX_ACTS]))
        for _, group in sorted(by_campaign.items())
        for start in range(0, len(group), MAX_ACTS)
    ]
    return [*shared, *(Button((act,), other_data=True) for act in separate)]
