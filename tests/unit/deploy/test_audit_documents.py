"""The audit of published documents: what follows from the ledger passes, and what does not is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from deploy.audit.documents import faults
from services.marathon.domain.disclosure import Exact, Memory, disclose
from services.marathon.domain.document import Sums, compose
from shared.events.marathon import CampaignChanged, Policies
from tests.support.page_samples import campaign

EXACT = Policies(public_threshold=1)
SAFE = Policies(confirmation="required", public_evidence=("confirmed",), safety_mode=True)


def acting(policies: Policies) -> CampaignChanged:
    return campaign(slug="c", policies=policies, cases=("ana", "bo"))


def document(policies: Policies, *course: tuple[int, int]) -> Mapping[str, Any]:
    """What is published after the cases ana and bo had so many confirmed actions, from France, one after another."""
    memory: Memory = {}
    for ana, bo in course:
        exact = Exact(
            {"confirmed": ana + bo},
            {"ana": ana, "bo": bo},
            {"FR": ana + bo},
            {"signature": ana + bo},
            {"web": ana + bo},
            {"fr": ana + bo},
            by_case_and_evidence={("ana", "confirmed"): ana, ("bo", "confirmed"): bo},
        )
        disclosed = disclose(exact, policies, ("ana", "bo"), memory)
        memory = disclosed.memory
    made: Mapping[str, Any] = msgspec.to_builtins(
        compose(acting(policies), Sums(disclosed), version=1, as_of=0.0, now=0.0)
    )
    return made


def found(shown: Mapping[str, Any], policies: Policies, ana: int, bo: int) -> list[str]:
    sums = [
        {"evidence": "confirmed", "case": case, "country": "FR", "change": change}
        for case, change in (("ana", ana), ("bo", bo))
    ]
    return faults(shown, msgspec.to_builtins(acting(policies)), sums)


@pytest.mark.parametrize("policies", [EXACT, SAFE], ids=["exact", "safe"])
def test_what_follows_from_the_ledger_passes(policies: Policies) -> None:
    assert found(document(policies, (507, 18)), policies, 507, 18) == []


def test_in_safety_mode_a_figure_that_has_not_fallen_yet_passes() -> None:
    assert found(document(SAFE, (30, 20), (29, 11)), SAFE, 29, 11) == []


def test_a_figure_that_the_ledger_does_not_give_is_named() -> None:
    assert found(document(EXACT, (507, 18)), EXACT, 508, 18) != []
    assert any("of ana" in fault for fault in found(document(SAFE, (507, 18)), SAFE, 517, 18))
    assert any("at most" in fault for fault in found(document(SAFE, (507, 18)), SAFE, 300, 18))


def test_a_map_that_does_not_add_up_is_named() -> None:
    shown = {**document(SAFE, (507, 18)), "by_country": {"other": 3}}
    assert found(shown, SAFE, 507, 18) == ["by_country adds up to 3, not to 510"]
