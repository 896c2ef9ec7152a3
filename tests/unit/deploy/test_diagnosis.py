"""The checks of `mille doctor` that need no running platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import diagnosis
from deploy.local.diagnosis import Finding
from deploy.local.settings import LocalSettings
from services.notifications.sender.compose.signing import Signer
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
    [finding] = await signing(tmp_path, monkeypatch, DKIM_KEY_FILE=str(key), MAIL_FROM="letters@act.example.org")
    assert finding.remedy == ""
    assert "mille._domainkey.act.example.org" in finding.description
    assert Signer.load(key, "mille", "act.example.org").dns_record in finding.description
    chosen = {"DKIM_KEY_FILE": str(key), "DKIM_SELECTOR": "autumn", "DKIM_DOMAIN": "example.org"}
    [other] = await signing(tmp_path, monkeypatch, **chosen)
    assert "autumn._domainkey.example.org" in other.description


async def test_a_key_that_cannot_be_read_is_something_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [finding] = await signing(tmp_path, monkeypatch, DKIM_KEY_FILE=str(tmp_path / "none.key"))
    assert "none.key" in finding.description
    assert "DKIM_KEY_FILE" in finding.remedy


async def test_without_a_key_nothing_is_said_of_signatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await signing(tmp_path, monkeypatch) == []


def test_what_a_process_misses_is_told_in_words() -> None:
    body = b'{"ready": false, "missing": {"petitions.signatures.v1/2": "the log ends at 0, before the position 137"}}'
    finding = diagnosis._service_finding("petitions counter", body, "logs", ready=False)
    assert finding.description == "not ready: petitions.signatures.v1/2: the log ends at 0, before the position 137"
    assert "halted-partition.md" in finding.remedy
    for other in (b"<html>", b"[]", b'{"ready": false}', b'{"missing": 1}'):
        assert "it does not say why" in diagnosis._service_finding("p", other, "logs", ready=False).description


def test_a_process_that_is_ready_may_still_have_something_to_mend() -> None:
    body = b'{"ready": true, "missing": {}, "degraded": {"petitions.signatures.v1/2": "halted: a gap"}}'
    finding = diagnosis._service_finding("marathon all", body, "logs", ready=True)
    assert finding.description == "ready, but petitions.signatures.v1/2: halted: a gap"
    assert "halted-partition.md" in finding.remedy
    well = diagnosis._service_finding(
        "marathon all", b'{"ready": true, "missing": {}, "degraded": {}}', "logs", ready=True
    )
    assert (well.description, well.remedy) == ("ready", "")


async def test_a_platform_that_does_not_run_is_something_to_mend(tmp_path: Path) -> None:
    findings = await diagnosis.examine(LocalSettings(mille_home=str(tmp_path)))
    [platform] = [finding for finding in findings if finding.part == "platform"]
    assert platform == Finding("platform", "not running", "start it with `mille run`")
