"""The audit of published documents: it passes what follows from the ledger, and names what does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from deploy.audit.documents import faults
from services.marathon.domain.disclosure import DisclosureMemory, ExactTotals, disclose
from services.marathon.domain.document import Sums, compose
from shared.events.marathon import CampaignChanged, Policies
from tests.support.page_samples import campaign

EXACT = Policies(public_threshold=1)
SAFE = Policies(confirmation="required", public_evidence=("confirmed",), safety_mode=True)


def acting(policies: Policies) -> CampaignChanged:
    return campaign(slug="c", policies=policies, cases=("ana", "bo"))


def document(policies: Policies, *course: tuple[int, int]) -> Mapping[str, Any]:
    """Compose the document published after the cases ana and bo had each count of `course` in turn, from France."""
    memory: DisclosureMemory = {}
    for ana, bo in course:
        exact = ExactTotals(
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
    document_: Mapping[str, Any] = msgspec.to_builtins(
        compose(acting(policies), Sums(disclosed), version=1, as_of=0.0, now=0.0)
    )
    return document_


def faults_of(published: Mapping[str, Any], policies: Policies, ana: int, bo: int) -> list[str]:
    sums = [
        {"evidence": "confirmed", "case": case, "country": "FR", "change": change}
        for case, change in (("ana", ana), ("bo", bo))
    ]
    return faults(published, msgspec.to_builtins(acting(policies)), sums)


@pytest.mark.parametrize("policies", [EXACT, SAFE], ids=["exact", "safe"])
def test_what_follows_from_the_ledger_passes(policies: Policies) -> None:
    assert faults_of(document(policies, (507, 18)), policies, 507, 18) == []


def test_in_safety_mode_a_figure_that_has_not_fallen_yet_passes() -> None:
    assert faults_of(document(SAFE, (30, 20), (29, 11)), SAFE, 29, 11) == []


def test_a_figure_that_the_ledger_does_not_give_is_named() -> None:
    assert faults_of(document(EXACT, (507, 18)), EXACT, 508, 18) != []
    assert any("of ana" in fault for fault in faults_of(document(SAFE, (507, 18)), SAFE, 517, 18))
    assert any("at most" in fault for fault in faults_of(document(SAFE, (507, 18)), SAFE, 300, 18))


def test_a_map_that_does_not_add_up_is_named() -> None:
    published = {**document(SAFE, (507, 18)), "by_country": {"other": 3}}
    assert faults_of(published, SAFE, 507, 18) == ["by_country adds up to 3, not to 510"]
