"""A planted name and e-mail appear in the mailbox and, apart from sealed fields, nowhere else."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import TypeVar

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.databases import in_database
from shared import topics
from tests.support.needle_search import NeedleSearch
from tests.support.running import MilleRun
from tests.support.waiting import wait_for

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
class PlantedRun:
    """The planted person of one run, and the strings that must not be found."""

    running: MilleRun
    slug: str
    email: str
    planted: NeedleSearch


@pytest.fixture(scope="module")
def run(system: MilleRun, tmp_path_factory: pytest.TempPathFactory) -> PlantedRun:
    """Sign, write, send invalid requests, receive the mail and confirm, as one planted person."""
    slug = f"planted-{secrets.token_hex(4)}"
    email = f"quillemarie.{slug}@planted.example.org"
    file = tmp_path_factory.mktemp("campaign") / "planted.yaml"
    file.write_text(CAMPAIGN.format(slug=slug))
    _mille(system, "campaigns", "import", str(file))
    endpoints = system.endpoints()
    with httpx.Client(timeout=20) as client:
        _send_actions(client, system, slug, email)
        link = wait_for(lambda: _confirmation_link(Path(endpoints["mailbox"] or ""), email))
        assert client.get(link).status_code == 200
        assert client.post(link).status_code in {200, 303}
        totals = f"{endpoints['marathon']}/v1/campaigns/{slug}/totals"
        wait_for(lambda: client.get(totals).json()["by_evidence"].get("confirmed", 0) >= 1)
        wait_for(lambda: client.get(totals).json()["total"] == 3)
    return PlantedRun(system, slug, email, NeedleSearch(email, f"quillemarie.{slug}", GIVEN, FAMILY, TEXT))


def _mille(system: MilleRun, *arguments: str) -> str:
    completed = subprocess.run(
        [sys.executable, "-m", "deploy.mille", *arguments],
        env={"MILLE_HOME": str(system.home.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def _send_actions(client: httpx.Client, system: MilleRun, slug: str, email: str) -> None:
    endpoints = system.endpoints()
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
    signatures, messages = f"{endpoints['petitions']}/v1/signatures", f"{endpoints['letters']}/v1/messages"
    answer = client.post(signatures, json=signature)
    assert answer.status_code == 202
    client.get(f"{signatures}/{answer.json()['receipt']}")
    client.get(f"{endpoints['petitions']}/thanks/{answer.json()['receipt']}")
    assert client.post(signatures, data={"petition": f"free-{slug}", **form}).status_code == 303
    assert client.post(messages, json=message).status_code == 202
    printed = client.post(
        f"{endpoints['letters']}/letters/print/case-{slug}", data={**form, "text": TEXT, "sender": FAMILY}
    )
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
        client.get(f"{endpoints['petitions']}/confirm/{email}"),
        client.get(f"{endpoints['petitions']}/{email}"),
        client.get(f"{signatures}/{email}"),
    ]
    for answer in refused:
        assert 400 <= answer.status_code < 500
        assert not NeedleSearch(email, GIVEN, FAMILY, TEXT).is_in(answer.content)


def _confirmation_link(mailbox: Path, email: str) -> str | None:
    for file in mailbox.glob("*.eml"):
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        if email in str(mail["To"]):
            text = mail.get_body(("plain",))
            match = re.search(r"https?://\S+/confirm/\S+", text.get_content() if text else "")
            if match and "/letters/" not in match.group():
                return match.group()
    return None


def test_the_mailbox_shows_that_the_search_can_find(run: PlantedRun) -> None:
    assert run.planted.in_files(Path(run.running.endpoints()["mailbox"] or ""))


def test_no_segment_of_kafka_tells(run: PlantedRun) -> None:
    assert run.planted.in_kafka_segments(Path(run.running.endpoints()["kafka_data"] or "")) == []


async def test_no_value_in_a_database_tells(run: PlantedRun) -> None:
    assert await run.planted.in_databases(run.running.endpoints()["databases"]) == []


def test_no_log_tells(run: PlantedRun) -> None:
    assert run.planted.in_files(Path(run.running.endpoints()["logs"])) == []
    assert not run.planted.is_in(run.running.output_text().encode())


def test_no_metric_tells(run: PlantedRun) -> None:
    addresses = [process["metrics"] for process in run.running.endpoints()["processes"]]
    assert run.planted.at_addresses(addresses) == []


def test_no_total_or_page_tells(run: PlantedRun) -> None:
    marathon = run.running.endpoints()["marathon"]
    pages = [f"/v1/campaigns/{run.slug}/totals", f"/campaigns/{run.slug}/board", f"/cases/case-{run.slug}"]
    assert run.planted.at_addresses([marathon + page for page in pages]) == []


@pytest.fixture
async def leaky_table(run: PlantedRun) -> AsyncIterator[None]:
    connection = await asyncpg.connect(in_database(run.running.endpoints()["administrator"], "marathon"))
    try:
        await connection.execute("CREATE TABLE leaky (plain text, packed bytea); GRANT ALL ON leaky TO marathon")
        yield
    finally:
        await connection.execute("DROP TABLE leaky")
        await connection.close()


@pytest.mark.usefixtures("leaky_table")
@pytest.mark.parametrize("encode", [str.encode, lambda text: json.dumps({"to": text}).encode()])
async def test_the_search_finds_what_leaks_into_a_database(run: PlantedRun, encode: Callable[[str], bytes]) -> None:
    databases = {"marathon": run.running.endpoints()["databases"]["marathon"]}
    connection = await asyncpg.connect(databases["marathon"])
    try:
        await connection.execute("INSERT INTO leaky VALUES (NULL, $1)", encode(run.email) * 500)
    finally:
        await connection.close()
    assert [find.location for find in await run.planted.in_databases(databases)] == ["marathon.public.leaky"]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
async def test_the_search_finds_what_leaks_into_a_compressed_batch(
    platform: dict[str, str], make_topic: Callable[..., object], compression: str | None
) -> None:
    name = await make_topic(topics.DELIVERIES)  # type: ignore[misc]
    async with AIOKafkaProducer(bootstrap_servers=platform["kafka"], compression_type=compression) as producer:
        await producer.send_and_wait(name, json.dumps({"name": f"{GIVEN} {FAMILY}"}).encode() * 50)
    findings = await asyncio.to_thread(NeedleSearch(FAMILY).in_kafka_segments, Path(platform["kafka_data"]))
    assert any(find.location.startswith(str(name)) for find in findings)
