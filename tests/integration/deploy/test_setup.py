"""`mille setup`: an outside Kafka and PostgreSQL prepared, and each service handed its own secrets."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from shared import migrations

TIMEOUT_S = 120


def mille(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **settings}
    return subprocess.run(
        [sys.executable, "-m", "deploy.mille", "setup", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def outside_settings(platform: Endpoints, home: Path, secrets_folder: Path) -> dict[str, str]:
    """Return the settings of an outside platform; passwords are in files, not in addresses."""
    server = urlsplit(platform["administrator"])
    return {
        "MILLE_HOME": str(home),
        "ENVIRONMENT": "development",
        "KAFKA_BOOTSTRAP_SERVERS": platform["kafka"],
        "DATABASE_URL": f"postgresql://{server.username}@{server.hostname}:{server.port}/postgres",
        "PGPASSFILE": str(secrets_folder / "administrator" / "pgpass"),
        "MARATHON_URL": "http://marathon:8100",
        "PETITIONS_URL": "http://petitions-intake:8101",
        "LETTERS_URL": "http://letters-intake:8102",
        "NOTIFICATIONS_URL": "http://notifications:8103",
    }


def test_each_service_gets_its_own_keys_and_its_own_password(tmp_path: Path) -> None:
    secrets_folder = tmp_path / "handed"
    assert mille("secrets", str(secrets_folder), MILLE_HOME=str(tmp_path / "home")).returncode == 0
    assert {folder.name: {file.name for file in folder.iterdir()} for folder in secrets_folder.iterdir()} == {
        "marathon": {"wrapping.pub", "signing.key", "ledger.key", "pgpass"},
        "petitions": {"wrapping.key", "receipt.key", "pgpass"},
        "letters": {"wrapping.key", "receipt.key", "pgpass"},
        "notifications": {"wrapping.key", "recipient.key", "pgpass"},
        "administrator": {"password", "pgpass"},
    }
    for file in secrets_folder.glob("*/*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    passwords = {file.read_text().rpartition(":")[2] for file in secrets_folder.glob("*/pgpass")}
    assert len(passwords) == 5


def test_secrets_that_are_there_never_change(tmp_path: Path) -> None:
    secrets_folder = tmp_path / "handed"
    settings = {"MILLE_HOME": str(tmp_path / "home")}
    mille("secrets", str(secrets_folder), **settings)
    before = {file: file.read_bytes() for file in secrets_folder.glob("*/*")}
    mille("secrets", str(secrets_folder), **settings)
    assert {file: file.read_bytes() for file in secrets_folder.glob("*/*")} == before


async def test_a_database_that_is_missing_is_made_with_its_role_and_schema(platform: Endpoints, tmp_path: Path) -> None:
    home, secrets_folder = tmp_path / "home", tmp_path / "handed"
    home.mkdir()
    shutil.copy(Path(platform["logs"]).parent / "passwords.json", home)
    mille("secrets", str(secrets_folder), MILLE_HOME=str(home))
    administrator = await asyncpg.connect(platform["administrator"], timeout=10)
    try:
        await administrator.execute("DROP DATABASE letters WITH (FORCE)")
    finally:
        await administrator.close(timeout=10)

    for _ in range(2):
        result = mille("platform", **outside_settings(platform, home, secrets_folder))
        assert result.returncode == 0, result.stdout + result.stderr

    server = urlsplit(platform["administrator"])
    connection = await asyncpg.connect(
        f"postgresql://letters@{server.hostname}:{server.port}/letters",
        passfile=str(secrets_folder / "letters" / "pgpass"),
        timeout=10,
    )
    try:
        await migrations.check(connection, "letters")
    finally:
        await connection.close(timeout=10)


async def test_other_commands_find_the_outside_platform(platform: Endpoints, tmp_path: Path) -> None:
    home, secrets_folder = tmp_path / "home", tmp_path / "handed"
    home.mkdir()
    shutil.copy(Path(platform["logs"]).parent / "passwords.json", home)
    mille("secrets", str(secrets_folder), MILLE_HOME=str(home))
    assert mille("platform", **outside_settings(platform, home, secrets_folder)).returncode == 0
    path = home / "endpoints.json"
    found = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (found["petitions"], found["kafka"]) == ("http://petitions-intake:8101", platform["kafka"])
    assert found["databases"] == platform["databases"]


def test_what_it_must_be_told_is_named(tmp_path: Path) -> None:
    result = mille("platform", MILLE_HOME=str(tmp_path), DATABASE_URL="postgresql://administrator@127.0.0.1:1/postgres")
    assert result.returncode == 1
    assert "KAFKA_BOOTSTRAP_SERVERS, LETTERS_URL, MARATHON_URL, NOTIFICATIONS_URL, PETITIONS_URL" in result.stderr


def test_a_password_that_is_refused_is_said_without_it(platform: Endpoints, tmp_path: Path) -> None:
    server = urlsplit(platform["administrator"])
    settings = outside_settings(platform, tmp_path, tmp_path) | {
        "DATABASE_URL": f"postgresql://{server.username}:wrong-secret@{server.hostname}:{server.port}/postgres"
    }
    result = mille("platform", **settings)
    assert result.returncode == 1
    assert "DATABASE_URL" in result.stderr
    assert "wrong-secret" not in result.stdout + result.stderr
