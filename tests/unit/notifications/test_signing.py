"""DKIM signatures, judged by another implementation: dkimpy's verifier."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.notifications.sender.compose.mime import build_message, encode_header, format_address
from services.notifications.sender.compose.signing import Signer
from services.notifications.settings import Settings
from shared.errors import SetupError
from tests.support.dkim_keys import is_verified, write_key

NOON = 1_764_590_400.0
TEXT = st.text(max_size=300)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.load(write_key(tmp_path_factory.mktemp("dkim") / "dkim.key"), "mille", "act.example.org")


def mail(subject: str = "Please confirm", text: str = "Hello,\n\nthere.\n", name: str = "Ana") -> bytes:
    headers = [
        ("From", format_address("From", "The organisation", "letters@act.example.org")),
        ("To", format_address("To", name, "ana@example.org")),
        ("Subject", encode_header("Subject", subject)),
        ("Date", "Tue, 01 Dec 2026 12:00:00 +0000"),
        ("Message-ID", "<1@act.example.org>"),
        ("List-Unsubscribe", "<https://act.example.org/v1/unsubscribe/x>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]
    return build_message(headers, text=text, html=f"<p>{len(text)}</p>", boundary="=1=")


@given(subject=TEXT, text=TEXT, name=TEXT)
def test_whatever_a_mail_says_its_signature_is_good(signer: Signer, subject: str, text: str, name: str) -> None:
    signed = signer.sign(mail(subject, text.replace("=1=", ""), name), NOON)
    assert is_verified(signed, "mille._domainkey.act.example.org", signer.dns_record)


def test_a_relay_may_fold_headers_and_blanks_anew(signer: Signer) -> None:
    signed = signer.sign(mail("Please   confirm what you did"), NOON)
    folded = signed.replace(b"Subject: Please   confirm", b"subject:\r\n\tPlease confirm").replace(
        b"there.", b"there. "
    )
    assert folded != signed
    assert is_verified(folded, signer.dns_name, signer.dns_record)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello", b"Hallo"),
        (b"confirm", b"decline"),
        (b"ana@example.org", b"bo@example.org"),
        (b"unsubscribe/x", b"unsubscribe/y"),
        (b"One-Click", b"Two-Click"),
        (b"\r\nSubject:", b"\r\nSubject: another\r\nSubject:"),
        (b"\r\nFrom:", b"\r\nFrom: other@example.org\r\nFrom:"),
    ],
)
def test_a_change_on_the_way_is_noticed(signer: Signer, old: bytes, new: bytes) -> None:
    signed = signer.sign(mail(), NOON)
    changed = signed.replace(old, new, 1)
    assert changed != signed
    assert not is_verified(changed, signer.dns_name, signer.dns_record)


def test_a_mail_is_signed_the_same_at_every_attempt(signer: Signer) -> None:
    signed = signer.sign(mail(), NOON)
    assert signed == signer.sign(mail(), NOON)
    assert b"t=1764590400;" in signed
    assert max(map(len, signed.split(b"\r\n"))) < 200
    assert signed.endswith(mail())


def test_both_headers_of_one_click_unsubscription_are_covered(signer: Signer) -> None:
    match = re.search(rb"h=([^;]*);", signer.sign(mail(), NOON))
    assert match is not None
    assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= set(match[1].split(b":"))


def test_a_key_that_receivers_would_not_take_is_refused(tmp_path: Path) -> None:
    for content in (None, b"no key", write_key(tmp_path / "short", 1024).read_bytes()):
        path = tmp_path / "dkim.key"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SetupError, match=r"dkim\.key"):
            Signer.load(path, "mille", "act.example.org")


@pytest.mark.parametrize(
    ("domain", "complaint"), [("example.org", None), ("act.example.org", None), ("ple.org", "above")]
)
def test_only_a_domain_that_the_sender_belongs_to_can_sign(tmp_path: Path, domain: str, complaint: str | None) -> None:
    values = {
        "kafka_bootstrap_servers": "127.0.0.1:9",
        "database_url": "postgresql://127.0.0.1/x",
        "wrapping_private_key_file": tmp_path,
        "recipient_key_file": tmp_path,
        "mail_from": "letters@act.example.org",
        "dkim_domain": domain,
    }
    if complaint is None:
        assert Settings.model_validate(values).dkim_domain == domain
    else:
        with pytest.raises(ValidationError, match=complaint):
            Settings.model_validate(values)
