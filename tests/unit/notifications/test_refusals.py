"""SMTP failures, slow domains, and the keyed hashes that stand for addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.domain.recipient_keys import RecipientKeys, smtp_address
from services.notifications.domain.refusals import (
    MAX_RETRY_DELAY,
    Failure,
    Stage,
    classify_failure,
    parse_status,
    retry_delay,
)
from services.notifications.sender.deliver.slow_domains import MAX_BACKOFF, SlowDomains
from shared.kafka.record_ref import RecordRef

NOW = datetime(2026, 12, 1, tzinfo=UTC)
RECIPIENT_KEYS = RecipientKeys(bytes(32))


@pytest.mark.parametrize(
    ("stage", "answer", "meaning"),
    [
        (Stage.RECIPIENT, "550 no such user", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "550 5.0.0 no such user", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "550 5.1.1 no such user", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "550-5.1.1 no such user\n5.1.1 at all", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "550 5.2.1 the mailbox is shut", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "553 no such name", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "556 5.1.10 takes no mail", Failure.MAILBOX_GONE),
        (Stage.RECIPIENT, "552 5.2.2 the mailbox is full", Failure.BOUNCED),
        (Stage.RECIPIENT, "550 5.2.2 the mailbox is full", Failure.BOUNCED),
        (Stage.RECIPIENT, "553 5.6.7 no such letters", Failure.BOUNCED),
        (Stage.RECIPIENT, "450 4.2.1 not now", Failure.RETRY),
        (Stage.RECIPIENT, "421 4.3.2 not now", Failure.RETRY),
        (Stage.RECIPIENT, "550 5.7.1 relaying denied", Failure.REFUSED),
        (Stage.RECIPIENT, "554 5.7.1 <ana@example.org>: Relay access denied", Failure.REFUSED),
        (Stage.RECIPIENT, "550 relay not permitted", Failure.REFUSED),
        (Stage.RECIPIENT, "553 that domain isn't in my list of allowed rcpthosts (#5.7.1)", Failure.REFUSED),
        (Stage.RECIPIENT, "550 5.1.8 your domain does not exist", Failure.REFUSED),
        (Stage.RECIPIENT, "550 5.7.26 unauthenticated mail from you", Failure.REFUSED),
        (Stage.RECIPIENT, "550 5.4.1 access denied", Failure.REFUSED),
        (Stage.RECIPIENT, "530 sign in first", Failure.REFUSED),
        (Stage.MESSAGE, "554 no", Failure.BOUNCED),
        (Stage.MESSAGE, "554 5.6.0 not well written", Failure.BOUNCED),
        (Stage.MESSAGE, "550 5.1.1 no such user", Failure.MAILBOX_GONE),
        (Stage.MESSAGE, "554 5.7.1 looks like spam", Failure.REFUSED),
        (Stage.MESSAGE, "451 4.3.0 not now", Failure.RETRY),
        (Stage.MESSAGE, "0 ", Failure.RETRY),
        (Stage.SESSION, "535 5.7.8 wrong password", Failure.REFUSED),
        (Stage.SESSION, "550 not from you", Failure.REFUSED),
        (Stage.SESSION, "421 too many", Failure.RETRY),
    ],
)
def test_an_answer_means_later_or_never_and_speaks_of_the_mailbox_or_of_us(
    stage: Stage, answer: str, meaning: Failure
) -> None:
    code, text = int(answer[:3]), answer[4:]
    assert classify_failure(stage, code, parse_status(text)) is meaning


@pytest.mark.parametrize("text", ["", "[5.1.1.2] is blocked", "see 5.7.1", "4.2.1 not now"])
def test_no_status_is_read_where_none_was_given(text: str) -> None:
    assert parse_status(text) is None


@given(st.integers(1, 10_000))
def test_pauses_grow_up_to_an_hour(attempts: int) -> None:
    assert retry_delay(1) <= retry_delay(attempts) <= retry_delay(attempts + 1) <= MAX_RETRY_DELAY


def test_a_domain_is_held_for_longer_at_each_failure_in_a_row_and_free_after_a_success() -> None:
    slow = SlowDomains()
    now, holds = NOW, []
    for _ in range(8):
        slow.record_failure("slow.example", now)
        slow.record_failure("slow.example", now)  # under way at the same time
        until = slow.deferred_until("slow.example", now)
        assert until is not None
        assert slow.deferred_until("other.example", now) is None
        holds.append(until - now)
        now = until
        assert slow.deferred_until("slow.example", now) is None
    assert holds[:3] == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    assert holds[-1] == MAX_BACKOFF
    slow.record_success("slow.example")
    slow.record_failure("slow.example", now)
    assert slow.deferred_until("slow.example", now) == now + timedelta(seconds=30)


def test_spellings_of_one_mailbox_are_one_recipient() -> None:
    assert RECIPIENT_KEYS.recipient_key("A.na+x@gmail.com") == RECIPIENT_KEYS.recipient_key("ana@googlemail.com")
    assert RECIPIENT_KEYS.recipient_key("ana@exämple.org") == RECIPIENT_KEYS.recipient_key("ANA@xn--exmple-cua.org")
    assert RECIPIENT_KEYS.recipient_key("ana@example.org") != RECIPIENT_KEYS.recipient_key("bob@example.org")
    assert RecipientKeys(b"1" * 32).recipient_key("ana@example.org") != RECIPIENT_KEYS.recipient_key("ana@example.org")


def test_spellings_of_one_mailbox_are_different_addresses_to_write_to() -> None:
    spellings = ("ana@gmail.com", "A.na+x@gmail.com", "\uff41na@gmail.com", "ana@googlemail.com")
    assert len({RECIPIENT_KEYS.recipient_key(spelling) for spelling in spellings}) == 1
    assert len({RECIPIENT_KEYS.address_key(smtp_address(spelling)) for spelling in spellings}) == 4
    assert smtp_address(" Ana@EXÄMPLE.org") == "Ana@xn--exmple-cua.org"


@given(st.binary(min_size=16, max_size=16))
def test_a_token_gives_back_its_recipient(recipient: bytes) -> None:
    assert RECIPIENT_KEYS.read_token(RECIPIENT_KEYS.token(recipient)) == recipient


@given(st.text(max_size=60))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        RECIPIENT_KEYS.read_token(text)


def test_another_services_token_is_not_ours() -> None:
    with pytest.raises(ValueError, match="not a token"):
        RECIPIENT_KEYS.read_token(RecipientKeys(b"1" * 32).token(bytes(16)))


def test_a_mail_is_named_by_the_submission_that_it_covers_first() -> None:
    name = RECIPIENT_KEYS.mail_id("confirmation", RecordRef("topic", 0, 1))
    assert name == RECIPIENT_KEYS.mail_id("confirmation", RecordRef("topic", 0, 1))
    others = [RecordRef("topic", 0, 2), RecordRef("topic", 1, 1), RecordRef("other", 0, 1)]
    assert len({name, *(RECIPIENT_KEYS.mail_id("confirmation", ref) for ref in others)}) == 4
