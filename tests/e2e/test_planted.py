"""A planted name and e-mail are found in the mailbox and, sealed, nowhere else."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import TypeVar

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer

from shared import topics
from tests.support.planted import Planted
from tests.support.running import Running

GIVEN, FAMILY = "Quillemarie", "Zymborskaïa"
TEXT = "The lilac by your window is in flower."
DEADLINE_S = 60.0
T = TypeVar("T")

CAMPAIGN = """
campaign:
  slug: {slug}
  title: {{en: Planted}}
  opens: 2020-01-01T00:00:00Z
  closes: 2100-01-01T00:00:00Z
  goal: 100
  languages: [en]
  policies: {{one_per: email, confirmation: optional, public_evidence: [confirmed, recorded], public_threshold: 1}}
cases:
  - slug: case-{slug}
    name: Sample Case
    country: FR
    status: detained
    address: {{lines: [Sample Case, Hut 3], language: en}}
    story: {{en: A story.}}
    petition: {{slug: free-{slug}, title: {{en: Free}}, text: {{en: Free the sample.}}, targets: []}}
"""


@dataclass(frozen=True)
class Acted:
    """What one planted person did, and the needles that must not be found."""

    running: Running
    slug: str
    email: str
    planted: Planted


@pytest.fixture(scope="module")
def acted(system: Running, tmp_path_factory: pytest.TempPathFactory) -> Acted:
    """A person has signed, written, failed, been mailed and confirmed."""
    slug = f"planted-{secrets.token_hex(4)}"
    email = f"quillemarie.{slug}@planted.example.org"
    file = tmp_path_factory.mktemp("campaign") / "planted.yaml"
    file.write_text(CAMPAIGN.format(slug=slug))
    _mille(system, "campaigns", "import", str(file))
    at = system.endpoints()
    with httpx.Client(timeout=20) as client:
        _act(client, system, slug, email)
        link = _wait_for(lambda: _link(Path(at["mailbox"] or ""), email))
        assert client.get(link).status_code == 200
        assert client.post(link).status_code in {200, 303}
        totals = f"{at['marathon']}/v1/campaigns/{slug}/totals"
        _wait_for(lambda: client.get(totals).json()["by_evidence"].get("confirmed", 0) >= 1)
        _wait_for(lambda: client.get(totals).json()["total"] == 3)
    return Acted(system, slug, email, Planted(email, f"quillemarie.{slug}", GIVEN, FAMILY, TEXT))


def _mille(system: Running, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.mille", *arguments],
        env={"MILLE_HOME": str(system.home.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _act(client: httpx.Client, system: Running, slug: str, email: str) -> None:
    at = system.endpoints()
    person = {
        "given_name": GIVEN,
        "family_name": FAMILY,
        "email": email,
        "country": "FR",
        "locale": "en",
        "consent": {"privacy": True, "updates": False, "public_name": True},
    }
    signature = {"petition": f"free-{slug}", **person}
    message = {"case": f"case-{slug}", "kind": "letter", "text": TEXT, "language": "en", **person}
    form = {
        **{key: person[key] for key in ("given_name", "family_name", "email", "country", "locale")},
        "privacy": "on",
    }
    signatures, messages = f"{at['petitions']}/v1/signatures", f"{at['letters']}/v1/messages"
    answer = client.post(signatures, json=signature)
    assert answer.status_code == 202
    client.get(f"{signatures}/{answer.json()['receipt']}")
    client.get(f"{at['petitions']}/thanks/{answer.json()['receipt']}")
    assert client.post(signatures, data={"petition": f"free-{slug}", **form}).status_code == 303
    assert client.post(messages, json=message).status_code == 202
    printed = client.post(f"{at['letters']}/letters/print/case-{slug}", data={**form, "text": TEXT, "sender": FAMILY})
    assert TEXT in printed.text
    posted = {"case": f"case-{slug}", "kind": "letter", "code": "7KQ4-M2XD-9FJ4", "language": "en", **person}
    assert client.post(f"{messages}/posted", json=posted).status_code == 202
    refused = [
        client.post(signatures, json={**signature, "country": email}),
        client.post(signatures, json={**signature, "petition": email}),
        client.post(signatures, json={**signature, "given_name": f"={GIVEN}"}),
        client.post(signatures, content=json.dumps(signature)[:-1], headers={"Content-Type": "application/json"}),
        client.post(signatures, content=email.encode(), headers={"Content-Type": email}),
        client.post(f"{signatures}/batch", json={"items": [signature]}, headers={"Authorization": f"Bearer {email}"}),
        client.post(messages, json={**message, "text": TEXT + "\x00"}),
        client.get(f"{at['petitions']}/confirm/{email}"),
        client.get(f"{at['petitions']}/{email}"),
        client.get(f"{signatures}/{email}"),
    ]
    for answer in refused:
        assert 400 <= answer.status_code < 500
        assert not Planted(email, GIVEN, FAMILY, TEXT).within(answer.content)


def _link(mailbox: Path, email: str) -> str | None:
    for file in mailbox.glob("*.eml"):
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        if email in str(mail["To"]):
            text = mail.get_body(("plain",))
            found = re.search(r"https?://\S+/confirm/\S+", text.get_content() if text else "")
            if found and "/letters/" not in found.group():
                return found.group()
    return None


def _wait_for(probe: Callable[[], T | None]) -> T:
    """What `probe` returns once it is true of it."""
    end = time.monotonic() + DEADLINE_S
    while not (found := probe()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
    return found


def test_the_mailbox_shows_that_the_search_can_find(acted: Acted) -> None:
    assert acted.planted.in_files(Path(acted.running.endpoints()["mailbox"] or ""))


def test_no_segment_of_kafka_tells(acted: Acted) -> None:
    assert acted.planted.in_kafka_segments(Path(acted.running.endpoints()["kafka_data"] or "")) == []


async def test_no_value_in_a_database_tells(acted: Acted) -> None:
    assert await acted.planted.in_databases(acted.running.endpoints()["databases"]) == []


def test_no_log_tells(acted: Acted) -> None:
    assert acted.planted.in_files(Path(acted.running.endpoints()["logs"])) == []
    assert not acted.planted.within(acted.running.said().encode())


def test_no_metric_tells(acted: Acted) -> None:
    addresses = [process["metrics"] for process in acted.running.endpoints()["processes"]]
    assert acted.planted.at_addresses(addresses) == []


def test_no_total_or_page_tells(acted: Acted) -> None:
    marathon = acted.running.endpoints()["marathon"]
    pages = [f"/v1/campaigns/{acted.slug}/totals", f"/campaigns/{acted.slug}/board", f"/cases/case-{acted.slug}"]
    assert acted.planted.at_addresses([marathon + page for page in pages]) == []


@pytest.fixture
async def leaky_table(acted: Acted) -> AsyncIterator[None]:
    connection = await asyncpg.connect(acted.running.endpoints()["databases"]["marathon"])
    try:
        await connection.execute("CREATE TABLE leaky (plain text, packed bytea)")
        yield
    finally:
        await connection.execute("DROP TABLE leaky")
        await connection.close()


@pytest.mark.usefixtures("leaky_table")
@pytest.mark.parametrize("encode", [str.encode, lambda text: json.dumps({"to": text}).encode()])
async def test_the_search_finds_what_leaks_into_a_database(acted: Acted, encode: Callable[[str], bytes]) -> None:
    databases = {"marathon": acted.running.endpoints()["databases"]["marathon"]}
    connection = await asyncpg.connect(databases["marathon"])
    try:
        await connection.execute("INSERT INTO leaky VALUES (NULL, $1)", encode(acted.email) * 500)
    finally:
        await connection.close()
    assert [find.place for find in await acted.planted.in_databases(databases)] == ["marathon.public.leaky"]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
async def test_the_search_finds_what_leaks_into_a_compressed_batch(
    platform: dict[str, str], make_topic: Callable[..., object], compression: str | None
) -> None:
    name = await make_topic(topics.DELIVERIES)  # type: ignore[misc]
    async with AIOKafkaProducer(bootstrap_servers=platform["kafka"], compression_type=compression) as producer:
        await producer.send_and_wait(name, json.dumps({"name": f"{GIVEN} {FAMILY}"}).encode() * 50)
    found = await asyncio.to_thread(Planted(FAMILY).in_kafka_segments, Path(platform["kafka_data"]))
    assert any(find.place.startswith(str(name)) for find in found)
