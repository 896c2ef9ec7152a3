"""What an SMTP failure means, which domains wait, and the names that stand for addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.domain.plan import Place
from services.notifications.domain.recipient_keys import RecipientKeys, written_address
from services.notifications.domain.refusals import LONGEST_RETRY, Failure, Stage, failure, retry_after, status_of
from services.notifications.domain.slow_domains import LONGEST_HOLD, SlowDomains

NOW = datetime(2026, 12, 1, tzinfo=UTC)
NAMES = RecipientKeys(bytes(32))


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
    assert failure(stage, code, status_of(text)) is meaning


@pytest.mark.parametrize("text", ["", "[5.1.1.2] is blocked", "see 5.7.1", "4.2.1 not now"])
def test_no_status_is_read_where_none_was_given(text: str) -> None:
    assert status_of(text) is None


@given(st.integers(1, 10_000))
def test_pauses_grow_up_to_an_hour(attempts: int) -> None:
    assert retry_after(1) <= retry_after(attempts) <= retry_after(attempts + 1) <= LONGEST_RETRY


def test_a_domain_is_held_for_longer_at_each_failure_in_a_row_and_free_after_a_success() -> None:
    slow = SlowDomains()
    now, holds = NOW, []
    for _ in range(8):
        slow.failed("slow.example", now)
        slow.failed("slow.example", now)  # under way at the same time
        until = slow.held_until("slow.example", now)
        assert until is not None
        assert slow.held_until("other.example", now) is None
        holds.append(until - now)
        now = until
        assert slow.held_until("slow.example", now) is None
    assert holds[:3] == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    assert holds[-1] == LONGEST_HOLD
    slow.succeeded("slow.example")
    slow.failed("slow.example", now)
    assert slow.held_until("slow.example", now) == now + timedelta(seconds=30)


def test_spellings_of_one_mailbox_are_one_recipient() -> None:
    assert NAMES.key("A.na+x@gmail.com") == NAMES.key("ana@googlemail.com")
    assert NAMES.key("ana@exämple.org") == NAMES.key("ANA@xn--exmple-cua.org")
    assert NAMES.key("ana@example.org") != NAMES.key("bob@example.org")
    assert RecipientKeys(b"1" * 32).key("ana@example.org") != NAMES.key("ana@example.org")


def test_spellings_of_one_mailbox_are_different_addresses_to_write_to() -> None:
    spellings = ("ana@gmail.com", "A.na+x@gmail.com", "\uff41na@gmail.com", "ana@googlemail.com")
    assert len({NAMES.key(spelling) for spelling in spellings}) == 1
    assert len({NAMES.address(written_address(spelling)) for spelling in spellings}) == 4
    assert written_address(" Ana@EXÄMPLE.org") == "Ana@xn--exmple-cua.org"


@given(st.binary(min_size=16, max_size=16))
def test_a_token_gives_back_its_recipient(recipient: bytes) -> None:
    assert NAMES.read_token(NAMES.token(recipient)) == recipient


@given(st.text(max_size=60))
def test_no_other_text_is_a_token(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        NAMES.read_token(text)


def test_another_services_token_is_not_ours() -> None:
    with pytest.raises(ValueError, match="not a token"):
        NAMES.read_token(RecipientKeys(b"1" * 32).token(bytes(16)))


def test_a_mail_is_named_by_the_submission_that_it_covers_first() -> None:
    name = NAMES.mail_id("confirmation", Place("topic", 0, 1))
    assert name == NAMES.mail_id("confirmation", Place("topic", 0, 1))
    others = [Place("topic", 0, 2), Place("topic", 1, 1), Place("other", 0, 1)]
    assert len({name, *(NAMES.mail_id("confirmation", place) for place in others)}) == 4
