"""Keyed hashes, sealing, receipts and tokens."""

from __future__ import annotations

import hmac
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SetupError
from shared.privacy import dedupe, tokens
from shared.privacy.keys import PrivateKeyOpener, PublicKeyWrapper, read_secret
from shared.privacy.receipts import Receipt, Receipts, short_receipt
from shared.privacy.sealing import Person, Sealer

KEY = bytes(range(32))
OTHER = bytes(reversed(range(32)))
ANA = Person(given_name="Ana", family_name="Díaz", email="ana@example.org")
TOPICS = ("petitions.signatures.v1", "petitions.acts.v1")
ACT = tokens.TokenAct(
    topic=TOPICS[0], case="azat", subject="free-azat", key=b"k" * 16, digest=b"d" * 16, partition=3, offset=17
)
TOKEN = tokens.ActToken(purpose="confirm", campaign="w4r-2026", issued_at=1_790_000_000, acts=(ACT,))


def test_a_signature_key_depends_on_campaign_key_petition_and_address() -> None:
    keys = {
        dedupe.signature_key(key, petition, address)
        for key in (KEY, OTHER)
        for petition in ("free-azat", "free-khaled")
        for address in ("ana@example.org", "ben@example.org")
    }
    assert len(keys) == 8
    assert all(len(key) == dedupe.KEY_BYTES for key in keys)


def test_a_dedupe_key_is_the_beginning_of_an_hmac_that_others_can_compute() -> None:
    for key in (KEY, b"k" * 100):
        expected = hmac.digest(key, b"v1|free-azat|ana@example.org", "sha256")[: dedupe.KEY_BYTES]
        assert dedupe.signature_key(key, "free-azat", "ana@example.org") == expected


def test_a_household_signs_once_a_name_however_it_is_written() -> None:
    ana = dedupe.signature_key(KEY, "free-azat", "home@example.org", ("Ana ", "DÍAZ"))
    assert ana == dedupe.signature_key(KEY, "free-azat", "home@example.org", ("ana", "Díaz"))
    assert ana != dedupe.signature_key(KEY, "free-azat", "home@example.org", ("Ben", "Díaz"))


def test_a_reused_idempotency_key_never_loses_a_letter() -> None:
    def key(text: str, idempotency_key: str) -> bytes:
        return dedupe.message_key(KEY, "azat", "letter", "ana@example.org", text, idempotency_key=idempotency_key)

    assert key("Dear Azat", "1") == key("Dear  azat", "1")
    assert len({key("Dear Azat", "1"), key("Courage", "1"), key("Dear Azat", "2")}) == 3


def test_a_letter_of_nothing_but_marks_is_put_in_order_by_pieces() -> None:
    """Unicode's canonical order is found in a time that grows with the square of a row of marks."""
    for mark in ("\u0301", "\u0323", "\u0f73", "\u0344"):
        safe = dedupe.stream_safe("a" + mark * 1000)
        assert max(map(len, safe.split("\u034f"))) <= 31
        assert safe.replace("\u034f", "") == "a" + mark * 1000


@given(st.text(max_size=29))
def test_shorter_rows_of_marks_stay_as_they_are(text: str) -> None:
    assert dedupe.stream_safe(text) == text


def test_neighbours_share_a_network_hash_and_strangers_do_not() -> None:
    def hashed(address: str) -> str:
        return dedupe.network_hash(KEY, address)

    assert hashed("192.0.2.1") == hashed("192.0.2.254") != hashed("192.0.3.1")
    assert hashed("2001:db8:1:2::1") == hashed("2001:db8:1:2:ffff::") != hashed("2001:db8:1:3::1")


def test_what_was_sealed_opens_only_where_it_stands() -> None:
    sealer = Sealer(KEY)
    sealed = sealer.seal(ANA, topic="t", subject="s", key=b"k")
    assert sealer.open(sealed, topic="t", subject="s", key=b"k") == ANA
    assert "Ana" not in sealed
    assert b"Ana" not in b64decode(sealed)
    for topic, subject, key in [("u", "s", b"k"), ("t", "z", b"k"), ("t", "s", b"l")]:
        with pytest.raises(ValueError, match="another"):
            sealer.open(sealed, topic=topic, subject=subject, key=key)
    with pytest.raises(ValueError, match="another"):
        Sealer(OTHER).open(sealed, topic="t", subject="s", key=b"k")


def test_two_seals_of_one_person_differ() -> None:
    sealer = Sealer(KEY)
    assert sealer.seal(ANA, topic="t", subject="s", key=b"k") != sealer.seal(ANA, topic="t", subject="s", key=b"k")


def test_a_changed_byte_is_noticed() -> None:
    sealer = Sealer(KEY)
    raw = bytearray(b64decode(sealer.seal(ANA, topic="t", subject="s", key=b"k")))
    raw[-1] ^= 1
    with pytest.raises(ValueError, match="another"):
        sealer.open(bytes(raw), topic="t", subject="s", key=b"k")


@given(
    st.sampled_from(TOPICS),
    st.from_regex(r"[a-z0-9-]{1,80}", fullmatch=True),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.integers(0, 2**63 - 1),
)
def test_a_receipt_reads_back_as_it_was_issued(
    topic: str, subject: str, key: bytes, partition: int, offset: int
) -> None:
    receipts = Receipts(KEY, TOPICS)
    issued = receipts.issue(topic, subject, key, partition, offset)
    assert receipts.read(issued) == Receipt(topic, subject, key, partition, offset)


@pytest.mark.parametrize("text", ["", "x", "é", "A" * 120, "A" * 401])
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a receipt"):
        Receipts(KEY, TOPICS).read(text)


@given(st.sets(st.tuples(st.sampled_from(TOPICS), st.integers(0, 47), st.integers(0, 2**40)), min_size=2, max_size=50))
def test_every_submission_has_a_short_receipt_of_its_own(references: set[tuple[str, int, int]]) -> None:
    assert len({short_receipt(KEY, *reference) for reference in references}) == len(references)


def test_a_short_receipt_is_the_same_at_every_look_and_another_under_another_key() -> None:
    assert short_receipt(KEY, TOPICS[0], 3, 17) == short_receipt(KEY, TOPICS[0], 3, 17)
    assert short_receipt(KEY, TOPICS[0], 3, 17) != short_receipt(OTHER, TOPICS[0], 3, 17)


def test_a_receipt_of_another_key_is_refused() -> None:
    issued = Receipts(OTHER, TOPICS).issue(TOPICS[0], "free-azat", b"k" * 16, 0, 0)
    with pytest.raises(ValueError, match="not a receipt"):
        Receipts(KEY, TOPICS).read(issued)


def test_a_token_reads_back_as_it_was_signed() -> None:
    text = tokens.sign(TOKEN, KEY)
    assert tokens.campaign_of(text) == "w4r-2026"
    assert tokens.read(text, KEY) == TOKEN


def test_a_token_of_another_key_or_with_a_changed_part_is_refused() -> None:
    text = tokens.sign(TOKEN, KEY)
    campaign, body, tag = text.split(".")
    forged = [f"{campaign}.{body[:-1]}A.{tag}", f"eA.{body}.{tag}", f"{campaign}.{body}.{tag[:-2]}AA", f"{body}.{tag}"]
    for broken in [*forged, "", "a.b.c", "é.é.é"]:
        with pytest.raises(ValueError, match=r"not a token|padded|base64"):
            tokens.read(broken, KEY)
    with pytest.raises(ValueError, match="not a token"):
        tokens.read(text, OTHER)


def test_a_token_lists_no_more_acts_than_a_link_can_carry() -> None:
    oversized = tokens.ActToken(purpose="confirm", campaign="c", issued_at=0, acts=(ACT,) * (tokens.MAX_ACTS + 1))
    with pytest.raises(ValueError, match="at most"):
        tokens.sign(oversized, KEY)


def test_a_wrapped_key_opens_only_with_the_private_half(tmp_path: Path) -> None:
    opener, wrapper = _pair(tmp_path / "one")
    stranger, _ = _pair(tmp_path / "two")
    wrapped = wrapper.create()
    assert len(opener.open(wrapped)) == 32
    assert opener.open(wrapped) != opener.open(wrapper.create())
    with pytest.raises(ValueError):  # noqa: PT011  the library words it
        stranger.open(wrapped)


@pytest.mark.parametrize("content", [b"", b"zz", b"0123456789abcdef"])
def test_a_broken_secret_file_is_named_but_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "receipt.key"
    path.write_bytes(content)
    with pytest.raises(SetupError, match="64 hexadecimal digits"):
        read_secret(path)
    with pytest.raises(SetupError, match="cannot read"):
        read_secret(tmp_path / "missing.key")


def _pair(folder: Path) -> tuple[PrivateKeyOpener, PublicKeyWrapper]:
    folder.mkdir()
    key = rsa.generate_private_key(65537, 2048)
    private, public = folder / "wrapping.key", folder / "wrapping.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return PrivateKeyOpener(private), PublicKeyWrapper(public)
