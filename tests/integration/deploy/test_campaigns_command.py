"""`mille campaigns` and `mille keys` on the whole system, as an operator types them."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from services.marathon.domain.campaign_file import MAX_FILE_BYTES
from tests.support.campaign_files import campaign_file
from tests.support.commands import CommandResult, mille
from tests.support.running import MilleRun
from tests.support.waiting import wait_for

EMPTY_BATCH: dict[str, list[str]] = {"items": []}


@pytest.fixture
def slug() -> str:
    return f"c-{secrets.token_hex(3)}"


def import_(system: MilleRun, folder: Path, text: str) -> CommandResult:
    file = folder / "campaign.yaml"
    file.write_text(text)
    return mille(system.home.root, "campaigns", "import", str(file))


def test_when_the_import_returns_petitions_answers_with_the_new_version(
    system: MilleRun, tmp_path: Path, slug: str
) -> None:
    at = system.endpoints()
    for goal in (None, 500):
        text = campaign_file(slug, cases=(f"ana-{slug}",), goal=goal)
        result = import_(system, tmp_path, text)
        assert result.code == 0, result.output
        petition = httpx.get(f"{at['petitions']}/v1/petitions/free-ana-{slug}").json()
        assert petition["campaign"]["version"] == (1 if goal is None else 2)
        assert httpx.get(f"{at['marathon']}/v1/campaigns/{slug}").json()["goal"] == goal


def test_importing_the_same_again_says_so(system: MilleRun, tmp_path: Path, slug: str) -> None:
    text = campaign_file(slug, cases=(f"ana-{slug}",))
    assert "is now at version 1" in import_(system, tmp_path, text).output
    again = import_(system, tmp_path, text)
    assert (again.code, again.output.strip()) == (0, f"{slug} is as it was, at version 1")


def test_json_is_taken_like_yaml(system: MilleRun, tmp_path: Path, slug: str) -> None:
    data = {
        "campaign": {
            "slug": slug,
            "title": {"en": "Write"},
            "opens": "2026-11-01T00:00:00Z",
            "closes": "2027-01-01T00:00:00Z",
            "languages": ["en"],
        },
        "cases": [
            {"slug": f"ana-{slug}", "name": "Ana", "country": "FR", "status": "detained", "story": {"en": "A story."}}
        ],
    }
    assert import_(system, tmp_path, json.dumps(data)).code == 0


def test_faults_are_told_with_file_line_and_advice(system: MilleRun, tmp_path: Path, slug: str) -> None:
    text = campaign_file(slug, cases=(f"ana-{slug}",)).replace("country: FR", "country: France")
    result = import_(system, tmp_path, text.replace("languages:", "langages:"))
    lines = result.output.splitlines()
    assert result.code == 1
    assert lines[-1] == "Nothing was imported: 3 thing(s) to mend."
    assert f"{tmp_path}/campaign.yaml:3: campaign.langages is not a field here: did you mean languages?" in lines
    assert any("cases.0.country must be a country" in line for line in lines)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"x" * (MAX_FILE_BYTES + 1)])
def test_what_is_no_text_file_is_refused_in_a_sentence(system: MilleRun, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "campaign.yaml"
    if content is not None:
        file.write_bytes(content)
    result = mille(system.home.root, "campaigns", "import", str(file))
    assert (result.code, len(result.output.splitlines())) == (1, 1)
    assert result.output.startswith("mille campaigns: ")


def test_a_key_is_accepted_as_soon_as_it_is_printed_and_no_longer_once_revoked(
    system: MilleRun, tmp_path: Path, slug: str
) -> None:
    import_(system, tmp_path, campaign_file(slug, cases=(f"ana-{slug}",)))
    home = system.home.root
    key = mille(home, "keys", "create", "--campaign", slug, "--scope", "signatures:batch").output.strip()
    address = f"{system.endpoints()['petitions']}/v1/signatures/batch"

    def status() -> int:
        return httpx.post(address, json=EMPTY_BATCH, headers={"Authorization": f"Bearer {key}"}).status_code

    assert status() in {202, 422}
    listed = mille(home, "keys", "list", "--campaign", slug).output
    assert key not in listed
    key_id = next(word for word in listed.split() if len(word) == 16 and set(word) <= set("0123456789abcdef"))
    assert mille(home, "keys", "revoke", key_id).code == 0
    wait_for(lambda: status() == 401, "the revocation")


def test_a_key_for_an_unknown_campaign_is_refused_in_a_sentence(system: MilleRun) -> None:
    result = mille(system.home.root, "keys", "create", "--campaign", "nothing", "--scope", "signatures:batch")
    assert (result.code, result.output) == (1, "mille keys: there is no campaign nothing: import it first\n")


def test_the_keys_of_an_unknown_campaign_are_not_an_empty_list(system: MilleRun, tmp_path: Path, slug: str) -> None:
    import_(system, tmp_path, campaign_file(slug, cases=(f"ana-{slug}",)))
    result = mille(system.home.root, "keys", "list", "--campaign", "nothing")
    assert result.code == 1
    assert result.output.startswith("mille keys: there is no campaign nothing; there is ")
    assert mille(system.home.root, "keys", "list", "--campaign", slug).code == 0


class Stranger(BaseHTTPRequestHandler):
    """Answers everything with 200 and a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None: ...


@contextmanager
def stranger() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("service", ["marathon", "petitions"])
def test_an_answer_that_is_no_json_ends_the_import_in_a_sentence(
    system: MilleRun, tmp_path: Path, slug: str, service: str
) -> None:
    shutil.copytree(system.home.keys, tmp_path / "home" / "keys")
    file = tmp_path / "campaign.yaml"
    file.write_text(campaign_file(slug, cases=(f"ana-{slug}",)))
    with stranger() as address:
        at = json.dumps({**system.endpoints(), service: address})
        (tmp_path / "home" / "endpoints.json").write_text(at)
        result = mille(tmp_path / "home", "campaigns", "import", str(file))
    assert result.code == 1
    assert result.output.startswith(f"mille campaigns: imported, but what answers at {address}/")
    assert result.output.endswith(f" is not {service}: what listens there?\n")
