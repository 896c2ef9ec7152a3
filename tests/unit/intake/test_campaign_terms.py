"""Terms of campaigns, API keys of partners, and the memory of Idempotency-Keys."""

from __future__ import annotations

import hashlib

import pytest

from shared.catalog import Catalog
from shared.clock import rfc3339
from shared.errors import TransientError
from shared.events.marathon import AccessChanged, CampaignChanged, Policies, Section, TotalsChanged
from shared.intake.access import authenticate_partner
from shared.intake.campaign_terms import CampaignTerms, TermsCache, check_confirmations_open, check_open
from shared.intake.idempotency import IdempotencyMemory
from shared.privacy.keys import CampaignKeys
from shared.privacy.sealing import Sealer
from shared.refusals import Refusal

OPENS, CLOSES = 1_000.0, 2_000.0
KEYS = CampaignKeys(dedupe=b"d" * 32, token=b"t" * 32, seal={1: Sealer(b"s" * 32)}, current_seal=1)


class StubCatalog(Catalog):
    """A catalog of one campaign."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.campaigns["w4r"] = campaign()
        self.keys["w4r"] = KEYS


def campaign(**changes: object) -> CampaignChanged:
    fields: dict[str, object] = {
        "slug": "w4r",
        "version": 1,
        "title": {"en": "W"},
        "opens": rfc3339(OPENS),
        "closes": rfc3339(CLOSES),
        "confirmations_close": rfc3339(CLOSES + 500),
        "goal": None,
        "languages": ("fr", "en"),
        "policies": Policies(),
        "cases": (),
        "sections": (Section(slug="north", name="North", countries=("NO", "SE")),),
    }
    return CampaignChanged(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def terms() -> CampaignTerms:
    return TermsCache(StubCatalog()).get("w4r")


def test_a_campaign_opens_at_its_first_moment_and_closes_before_its_last(terms: CampaignTerms) -> None:
    check_open(terms, OPENS, {})
    check_open(terms, CLOSES - 0.001, {})
    with pytest.raises(Refusal) as early:
        check_open(terms, OPENS - 0.001, {})
    assert early.value.status == 422
    with pytest.raises(Refusal) as late:
        check_open(terms, CLOSES, {})
    assert late.value.status == 410


def test_a_closed_campaign_says_how_it_ended(terms: CampaignTerms) -> None:
    totals = TotalsChanged(
        campaign="w4r",
        version=9,
        as_of="1970-01-01T00:33:20.000Z",
        lag_seconds=0,
        state="frozen",
        total=7,
        public_total=7,
        goal=None,
        by_case={},
        by_country={},
        by_kind={},
        by_channel={},
        by_language={},
        by_evidence={},
        withdrawn=0,
        corrections=[],
        ledger={},
    )
    with pytest.raises(Refusal) as refused:
        check_open(terms, CLOSES + 1, {"w4r": totals})
    assert refused.value.members == {"total": 7, "as_of": "1970-01-01T00:33:20.000Z", "state": "frozen"}


def test_confirmations_count_for_longer(terms: CampaignTerms) -> None:
    check_confirmations_open(terms, CLOSES + 499, {})
    with pytest.raises(Refusal):
        check_confirmations_open(terms, CLOSES + 500, {})


@pytest.mark.parametrize("missing", ["campaigns", "keys"])
def test_a_campaign_whose_parts_have_not_all_arrived_can_wait(missing: str) -> None:
    catalog = StubCatalog()
    getattr(catalog, missing).clear()
    with pytest.raises(TransientError):
        TermsCache(catalog).get("w4r")


def test_a_changed_campaign_is_prepared_anew_but_not_for_each_count() -> None:
    catalog = StubCatalog()
    terms_cache = TermsCache(catalog)
    before = terms_cache.get("w4r")
    catalog.campaigns["w4r"] = campaign(languages=("ru",))
    terms_cache.on_catalog_change("totals", "w4r")
    assert terms_cache.get("w4r") is before
    terms_cache.on_catalog_change("campaign", "w4r")
    assert terms_cache.get("w4r").language == "ru"


ACCESS = AccessChanged(
    id="k1", hash=hashlib.sha256(b"secret").hexdigest(), campaign="w4r", scopes=("signatures:batch",)
)


@pytest.mark.parametrize(
    "header", [None, "", "secret", "Basic secret", "Bearer", "Bearer ", "Bearer other", "Bearer " + "x" * 300]
)
def test_without_a_known_key_a_partner_is_nobody(header: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        authenticate_partner(header, "signatures:batch", {ACCESS.hash: ACCESS})
    assert refused.value.status == 401


def test_a_key_opens_what_its_scopes_name() -> None:
    access = {ACCESS.hash: ACCESS}
    assert authenticate_partner("Bearer secret", "signatures:batch", access) is ACCESS
    assert authenticate_partner("bearer secret ", "signatures:batch", access) is ACCESS
    with pytest.raises(Refusal) as refused:
        authenticate_partner("Bearer secret", "letters:batch", access)
    assert refused.value.status == 403


def test_one_idempotency_key_goes_with_one_body() -> None:
    memory = IdempotencyMemory()
    memory.check(b"k", b"one", 0.0)
    memory.check(b"k", b"one", 1.0)
    memory.check(b"other", b"two", 1.0)
    with pytest.raises(Refusal) as refused:
        memory.check(b"k", b"two", 2.0)
    assert refused.value.status == 422


def test_each_owner_has_idempotency_keys_of_its_own() -> None:
    memory = IdempotencyMemory()
    memory.check(b"k", b"one", 0.0, owner=b"ngo")
    memory.check(b"k", b"two", 0.0, owner=b"other")
    with pytest.raises(Refusal):
        memory.check(b"k", b"three", 0.0, owner=b"ngo")


def test_an_idempotency_key_is_forgotten_after_its_time_and_when_there_are_too_many() -> None:
    memory = IdempotencyMemory(max_entries=2, retention_seconds=10)
    memory.check(b"a", b"one", 0.0)
    memory.check(b"a", b"two", 10.5)
    memory.check(b"b", b"one", 10.5)
    memory.check(b"c", b"one", 10.5)
    memory.check(b"a", b"three", 10.5)
    with pytest.raises(Refusal):
        memory.check(b"c", b"two", 10.5)


def test_an_idempotency_key_has_an_end() -> None:
    with pytest.raises(Refusal) as refused:
        IdempotencyMemory().check(b"k" * 256, b"one", 0.0)
    assert refused.value.status == 422
