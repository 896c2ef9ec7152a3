"""What `mille doctor` says of things that need no running platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import diagnosis
from deploy.local.diagnosis import Finding
from deploy.local.settings import LocalSettings
from services.notifications.sender.signing import Signer
from tests.support.dkim_keys import write_key


async def signing(home: Path, monkeypatch: pytest.MonkeyPatch, **settings: str) -> list[Finding]:
    for name in ("DKIM_KEY_FILE", "DKIM_SELECTOR", "DKIM_DOMAIN", "MAIL_FROM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    findings = await diagnosis.examine(LocalSettings(mille_home=str(home)))
    return [finding for finding in findings if finding.part == "DKIM"]


async def test_it_names_the_dns_record_of_the_key_that_mails_are_signed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = write_key(tmp_path / "dkim.key")
    [found] = await signing(tmp_path, monkeypatch, DKIM_KEY_FILE=str(key), MAIL_FROM="letters@act.example.org")
    assert found.mend == ""
    assert "mille._domainkey.act.example.org" in found.words
    assert Signer.of(key, "mille", "act.example.org").record in found.words
    chosen = {"DKIM_KEY_FILE": str(key), "DKIM_SELECTOR": "autumn", "DKIM_DOMAIN": "example.org"}
    [other] = await signing(tmp_path, monkeypatch, **chosen)
    assert "autumn._domainkey.example.org" in other.words


async def test_a_key_that_cannot_be_read_is_something_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = await signing(tmp_path, monkeypatch, DKIM_KEY_FILE=str(tmp_path / "none.key"))
    assert "none.key" in found.words
    assert "DKIM_KEY_FILE" in found.mend


async def test_without_a_key_nothing_is_said_of_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await signing(tmp_path, monkeypatch) == []


def test_what_a_process_misses_is_told_in_words() -> None:
    body = b'{"ready": false, "missing": {"petitions.signatures.v1/2": "the log ends at 0, before the position 137"}}'
    found = diagnosis._told("petitions counter", body, "logs", ready=False)
    assert found.words == "not ready: petitions.signatures.v1/2: the log ends at 0, before the position 137"
    assert "halted-partition.md" in found.mend
    for other in (b"<html>", b"[]", b'{"ready": false}', b'{"missing": 1}'):
        assert "it does not say why" in diagnosis._told("p", other, "logs", ready=False).words


def test_a_process_that_is_ready_may_still_have_something_to_mend() -> None:
    body = b'{"ready": true, "missing": {}, "degraded": {"petitions.signatures.v1/2": "halted: a gap"}}'
    found = diagnosis._told("marathon all", body, "logs", ready=True)
    assert found.words == "ready, but petitions.signatures.v1/2: halted: a gap"
    assert "halted-partition.md" in found.mend
    well = diagnosis._told("marathon all", b'{"ready": true, "missing": {}, "degraded": {}}', "logs", ready=True)
    assert (well.words, well.mend) == ("ready", "")
