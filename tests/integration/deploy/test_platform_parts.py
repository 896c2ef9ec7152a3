from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from pydantic import ValidationError

from deploy.local import jars, kafka, keys
from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT, Home
from deploy.local.passwords import passwords
from deploy.local.processes import PROCESSES, process_instances, program
from deploy.local.settings import LocalSettings
from shared.errors import SetupError


async def test_the_mailbox_keeps_each_message_as_a_file(platform: Endpoints) -> None:
    folder = Path(platform["mailbox"] or "")
    before = set(folder.glob("*.eml"))
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Bonjour à tous"
    message.set_content("Merci !")
    host, _, port = platform["smtp"].rpartition(":")
    await aiosmtplib.send(message, hostname=host, port=int(port), start_tls=False, timeout=10)
    [stored] = set(folder.glob("*.eml")) - before
    kept = message_from_bytes(stored.read_bytes())
    assert kept["X-RcptTo"] == "b@example.org"
    assert not list(folder.glob(".*"))


def test_a_damaged_jar_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "FOLDER", tmp_path)
    monkeypatch.setattr(jars, "LOCK", tmp_path / "lock")
    good = hashlib.sha256(b"jar").hexdigest()
    jars.LOCK.write_text(f"# lock\n{good}  org.example:thing:1.0\n")
    (tmp_path / "thing-1.0.jar").write_bytes(b"jar")
    assert jars.class_path() == str(tmp_path / "thing-1.0.jar")
    (tmp_path / "thing-1.0.jar").write_bytes(b"jam")
    with pytest.raises(SetupError, match="make setup"):
        jars.class_path()


def test_the_broker_can_live_in_a_folder_with_any_name() -> None:
    assert kafka.escaped("/home/Zoë \\ 語") == "/home/Zo\\u00eb \\u005c \\u8a9e"


def test_one_offset_moves_every_port_but_those_that_are_named() -> None:
    settings = LocalSettings(mille_port_offset=500, kafka_port=7000)
    assert (settings.kafka_port, settings.postgres_port, settings.marathon_port) == (7000, 5932, 8600)
    with pytest.raises(ValidationError):
        LocalSettings(mille_port_offset=-1)


def test_further_counters_get_ports_of_their_own_and_further_intakes_share_theirs() -> None:
    places = process_instances(LocalSettings(petitions_intakes=2, petitions_counters=3), mail=True)
    by_role = {
        role: [(place.name, place.port) for place in places if place.process.role == role]
        for role in ("intake", "counter")
    }
    assert by_role["intake"][:2] == [("petitions-intake", 8101), ("petitions-intake-2", 8101)]
    assert [place.probe_port for place in places if place.name.startswith("petitions-intake")] == [8121, 8141]
    assert [port for name, port in by_role["counter"] if name.startswith("petitions")] == [8111, 8131, 8151]


def test_without_mail_nothing_of_notifications_runs() -> None:
    assert not [
        place for place in process_instances(LocalSettings(), mail=False) if place.process.service == "notifications"
    ]


def test_each_service_gets_only_its_own_keys_and_no_administrators_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://root:secret@example.org/")
    monkeypatch.setenv("SIGNING_KEY_FILE", "/somewhere")
    settings = LocalSettings()
    for place in process_instances(settings, mail=True):
        given = program(Home(Path("/nowhere")), settings, place, "postgresql://own").environment
        assert {name for name in given if name.endswith("_KEY_FILE")} == set(place.process.keys)
        assert given["DATABASE_URL"] == "postgresql://own"


def test_only_services_that_open_keys_hold_the_private_half() -> None:
    for process in PROCESSES:
        assert ("WRAPPING_PRIVATE_KEY_FILE" in process.keys) == (process.service != "marathon")


def test_keys_and_passwords_are_made_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    keys.create(home)
    first = {name: (home.keys / name).read_bytes() for name in keys.NAMES}
    secret = passwords(home, "petitions")
    keys.create(home)
    assert {name: (home.keys / name).read_bytes() for name in keys.NAMES} == first
    assert passwords(home, "petitions", "letters")["petitions"] == secret["petitions"]


def test_cleaning_spares_a_home_in_use(platform: Endpoints) -> None:
    root = Path(platform["logs"]).parent
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local.clean"],
        env={**os.environ, "MILLE_HOME": str(root)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "stop it first" in done.stderr
    assert (root / "endpoints.json").exists()


def test_an_unknown_command_is_refused_with_a_hint() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.mille", "dance"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "mille --help" in done.stderr
