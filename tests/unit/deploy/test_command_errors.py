"""A command reports an outage in one sentence, which quotes nothing that a driver was given."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import asyncpg
import pytest
import typer
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

from deploy.mille import cli, topics
from tests.support.commands import mille

SECRET = "postgresql://petitions:swordfish@127.0.0.1"


def last_message(error: Exception, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the last message of `mille topics` if it raises `error`."""
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(topics, "app", app)
    monkeypatch.setattr(sys, "argv", ["mille", "topics"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return str(ended.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KafkaConnectionError(SECRET), "Kafka does not answer as it should (KafkaConnectionError)"),
        (RequestTimedOutError(SECRET), "Kafka does not answer as it should (RequestTimedOutError)"),
        (ConnectionRefusedError(111, SECRET), "a part of the platform cannot be reached (ConnectionRefusedError)"),
        (TimeoutError(), "a part of the platform cannot be reached (TimeoutError)"),
        (OSError("Multiple exceptions: " + SECRET), "a part of the platform cannot be reached (OSError)"),
        (OSError(errno.ENOSPC, "No space left on device"), "no room is left on a disk"),
        (asyncpg.InvalidPasswordError(SECRET), "PostgreSQL does not let us in (InvalidPasswordError)"),
        (asyncpg.UndefinedTableError(SECRET), "PostgreSQL does not answer as it should (UndefinedTableError)"),
        (asyncpg.InterfaceError(SECRET), "PostgreSQL does not answer as it should (InterfaceError)"),
    ],
)
def test_what_is_away_is_named_in_a_sentence(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = last_message(error, monkeypatch)
    assert text.startswith(f"mille topics: {words}")
    assert text.endswith("`mille doctor` says more")
    assert "swordfish" not in text


@pytest.mark.parametrize("error", [ValueError("a mistake"), FileNotFoundError(2, "no such file", "/a/file")])
def test_a_mistake_of_our_own_is_not_taken_for_an_outage(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        last_message(error, monkeypatch)


def test_a_service_that_counts_nothing_is_named_with_those_that_do(tmp_path: Path) -> None:
    result = mille(tmp_path, "replay", "--service", "nope")
    assert (result.code, result.output) == (
        1,
        "mille replay: there is no service nope that counts; these do: petitions, letters\n",
    )
    result = mille(tmp_path, "replay", "--service", "letters", "--topic", "petitions.acts.v1")
    assert (result.code, result.output) == (
        1,
        "mille replay: letters does not count petitions.acts.v1; petitions does\n",
    )
