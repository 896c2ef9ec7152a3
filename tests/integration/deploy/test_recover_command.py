"""`mille recover` on whole platforms that lost a disk or a database, as an operator types it."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.local import postgres
from deploy.local.databases import in_database
from deploy.local.endpoints import Endpoints
from deploy.local.home import Home
from shared import topics
from tests.support.campaign_files import campaign_file
from tests.support.commands import CommandResult, mille
from tests.support.running import MilleRun, mille_run, temporary_home
from tests.support.tallies import eventually
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)
SIGNATURES = topics.SIGNATURES.name
REASON = ("--yes", "--reason", "the disk of the broker died")


@pytest.fixture
def home() -> Iterator[Home]:
    with temporary_home() as temporary:
        yield temporary


def import_(home: Home, folder: Path, slug: str) -> None:
    file = folder / f"{slug}.yaml"
    file.write_text(campaign_file(slug, cases=(f"ana-{slug}",), policies={"public_threshold": 1}))
    result = mille(home.root, "campaigns", "import", str(file))
    assert result.code == 0, result.output


def sign(at: Endpoints, slug: str, people: range) -> None:
    for number in people:
        body = {
            "petition": f"free-ana-{slug}",
            "given_name": "Ana",
            "family_name": "Diaz",
            "email": f"{number}@example.org",
            "country": "FR",
            "locale": "fr",
            "consent": {"privacy": True, "updates": False, "public_name": False},
        }
        assert httpx.post(f"{at['petitions']}/v1/signatures", json=body, timeout=30).status_code == 202


def document(at: Endpoints, slug: str) -> dict[str, object]:
    totals: dict[str, object] = httpx.get(f"{at['marathon']}/v1/campaigns/{slug}/totals", timeout=30).json()
    return totals


def recover(home: Home, *arguments: str) -> CommandResult:
    """Run `mille recover` first as a dry run, which must find something to do, and then in earnest."""
    dry = mille(home.root, "recover", *arguments)
    assert (dry.code, dry.output.splitlines()[-1][:20]) == (1, "Nothing was changed."), dry.output
    result = mille(home.root, "recover", *arguments, *REASON)
    assert result.code == 0, result.output
    return result


def test_after_the_brokers_disk_was_lost_the_totals_go_on_where_they_stood(home: Home, tmp_path: Path) -> None:
    slug = f"r-{secrets.token_hex(3)}"
    with mille_run(home) as running:
        at = running.wait_until_up()
        import_(home, tmp_path, slug)
        sign(at, slug, range(30))
        wait_for(lambda: document(at, slug)["total"] == 30, "the count")
        # Ten more are counted, but their tally batches never reach marathon.
        os.kill(running.pid("marathon", "all"), signal.SIGSTOP)
        sign(at, slug, range(30, 40))
        asyncio.run(wait_for_outbox(at, 40))
        running.stop(signal.SIGKILL)
    wait_for(lambda: not running.home.in_use(), "the end of the platform")
    with mille_run(home, "--platform-only") as leftovers:
        leftovers.wait_until_restarted(at["platform"])
    shutil.rmtree(home.kafka_data)
    with mille_run(home, "--platform-only") as platform:
        platform.wait_until_up()
        recover(home, "log")
        recover(home, "topics")
        recover(home, "ledger")
        assert mille(home.root, "recover", "ledger").code == 0
        assert "the disk of the broker died" in mille(home.root, "recover", "list").output
    with mille_run(home) as again:
        at = again.wait_until_up()
        wait_for(lambda: document(at, slug)["total"] == 40, "the total as it was")
        sign(at, slug, range(35, 50))
        wait_for(lambda: document(at, slug)["total"] == 50, "the new ones, each counted once")
        corrections: Any = document(at, slug)["corrections"]
        assert [(correction["reason"], correction["change"]) for correction in corrections] == [("tallies-lost", 10)]
        audited = mille(home.root, "audit")
        assert audited.code == 0, audited.output


async def wait_for_outbox(at: Endpoints, rows: int) -> None:
    """Wait until `rows` signatures are counted and the outbox is empty."""
    connection = await asyncpg.connect(at["databases"]["petitions"])
    try:

        async def counts() -> tuple[int, int]:
            counted = await connection.fetchval("SELECT count(*) FROM signatures")
            return counted, await connection.fetchval("SELECT count(*) FROM outbox")

        await eventually(counts, (rows, 0))
    finally:
        await connection.close()


def dump(at: Endpoints, service: str, file: Path) -> None:
    """Run `pg_dump` as the runbook does."""
    program = postgres.wheel_programs() / "pg_dump"
    subprocess.run(
        [str(program), "--format=custom", f"--dbname={in_database(at['administrator'], service)}", f"--file={file}"],
        check=True,
        timeout=60,
    )


def restore(at: Endpoints, service: str, file: Path) -> None:
    """Restore a dump into an empty database of the owner's role, as the runbook does."""
    asyncio.run(_empty(at, service))
    address = in_database(at["administrator"], service)
    program = postgres.wheel_programs() / "pg_restore"
    subprocess.run([str(program), f"--dbname={address}", f"--role={service}_owner", str(file)], check=True, timeout=60)


def ledger_epochs(at: Endpoints) -> set[int]:
    """Return the epochs of the signatures' partitions from which marathon has read tally batches."""
    return asyncio.run(_ledger_epochs(at))


async def _ledger_epochs(at: Endpoints) -> set[int]:
    connection = await asyncpg.connect(at["databases"]["marathon"])
    try:
        rows = await connection.fetch("SELECT DISTINCT epoch FROM sources WHERE source = $1 AND next > 0", SIGNATURES)
        return {row["epoch"] for row in rows}
    finally:
        await connection.close()


async def _empty(at: Endpoints, service: str) -> None:
    connection = await asyncpg.connect(at["administrator"])
    try:
        await connection.execute(f"DROP DATABASE {service} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {service} OWNER {service}_owner TEMPLATE template0")
    finally:
        await connection.close()


def test_restored_databases_catch_up_with_what_was_counted_and_published_since(home: Home, tmp_path: Path) -> None:
    early, late = f"r-{secrets.token_hex(3)}", f"r-{secrets.token_hex(3)}"
    with mille_run(home) as running:
        at = running.wait_until_up()
        import_(home, tmp_path, early)
        sign(at, early, range(20))
        wait_for(lambda: document(at, early)["total"] == 20, "the count")
        for service in ("petitions", "marathon"):
            dump(at, service, tmp_path / service)
        import_(home, tmp_path, late)
        key = mille(home.root, "keys", "create", "--campaign", late, "--scope", "signatures:batch").output.strip()
        sign(at, early, range(20, 30))
        sign(at, late, range(5))
        wait_for(lambda: (document(at, early)["total"], document(at, late)["total"]) == (30, 5), "the count")
        # A first loss: petitions alone is restored, and counted into a new epoch.
        counter = running.pid("petitions", "counter")
        os.kill(counter, signal.SIGSTOP)
        restore(at, "petitions", tmp_path / "petitions")
        recover(home, "database", "petitions")
        os.kill(counter, signal.SIGKILL)
        wait_for(lambda: 1 in ledger_epochs(at), "the new epoch")
        wait_for(lambda: (document(at, early)["total"], document(at, late)["total"]) == (30, 5), "the same count")
        version = int(str(document(at, early)["version"]))
    # A second one: both are restored from the backups that know nothing of the first.
    with mille_run(home, "--platform-only") as platform:
        at = platform.wait_until_up()
        for service in ("petitions", "marathon"):
            restore(at, service, tmp_path / service)
        for service in ("petitions", "marathon"):
            recover(home, "database", service)
    with mille_run(home) as again:
        at = again.wait_until_up()
        wait_for(lambda: int(str(document(at, early)["version"])) > version, "newer totals than before")
        wait_for(lambda: (document(at, early)["total"], document(at, late)["total"]) == (30, 5), "the same totals")
        # With other keys than before those who signed would be new.
        sign(at, late, range(3, 8))
        wait_for(lambda: document(at, late)["total"] == 8, "the new ones, each counted once")
        headers = {"Authorization": f"Bearer {key}"}
        assert (
            httpx.post(f"{at['petitions']}/v1/signatures/batch", json={"items": []}, headers=headers).status_code != 401
        )
        wait_for(lambda: mille(home.root, "audit").code == 0, "agreement")


def test_without_a_reason_or_a_platform_it_says_so_in_a_sentence(tmp_path: Path) -> None:
    result = mille(tmp_path, "recover", "log", "--yes")
    assert (result.code, result.output) == (1, "mille recover: say with --reason why; it is kept in the trail\n")
    result = mille(tmp_path, "recover", "log")
    assert result.output.startswith("mille recover: no platform is up")


def test_what_is_whole_is_left_alone(system: MilleRun) -> None:
    for arguments in (("log",), ("ledger",), ("topics",)):
        result = mille(system.home.root, "recover", *arguments, "--yes", "--reason", "practice")
        assert (result.code, len(result.output.splitlines())) == (0, 1), result.output
    result = mille(system.home.root, "recover", "database", "elsewhere")
    assert result.output == (
        "mille recover: there is no database elsewhere; these are: petitions, letters, notifications, marathon\n"
    )
