"""Dead letters on the whole system, as an operator meets them."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from shared import topics
from shared.events.cloudevents import Envelope
from tests.support.commands import CommandResult, mille
from tests.support.running import MilleRun
from tests.support.waiting import wait_for

ADDRESS = b"ana@example.org"
TOPIC = topics.ACTS.name
"""Nobody but the counter reads it, so that no other log of the shared system has something to tell."""


def publish(system: MilleRun, version: str) -> str:
    """Publish an act that cannot be read, and return its place."""
    return asyncio.run(_publish(system.endpoints()["kafka"], version))


async def _publish(servers: str, version: str) -> str:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    try:
        envelope = Envelope("act-submitted", source="/tests", version=version)
        headers = envelope.headers(b"2026-12-01T12:00:00.250Z")
        sent = await producer.send_and_wait(TOPIC, ADDRESS, key=secrets.token_bytes(16), partition=1, headers=headers)
        return f"{TOPIC}/{sent.partition}/{sent.offset}"
    finally:
        await producer.stop()


def dlq(system: MilleRun, *arguments: str) -> CommandResult:
    result = mille(system.home.root, "dlq", *arguments)
    assert ADDRESS.decode() not in result.output
    return result


def told_dead(system: MilleRun) -> Iterator[str]:
    """Yield the places and reasons of dead letters in the log of the counter."""
    for line in (Path(system.endpoints()["logs"]) / "petitions-counter.log").read_text().splitlines():
        with suppress(ValueError):
            told = json.loads(line)
            if told.get("message") == "dead letter":
                yield f"{told['topic']}/{told['partition']}/{told['offset']} {told['reason']}"


def wait_until_dead(system: MilleRun, place: str, reason: str) -> None:
    wait_for(lambda: f"{place} {reason}" in told_dead(system), "the line in the log")
    wait_for(lambda: place in dlq(system, "show", place).output, "the dead letter")


def finding(system: MilleRun) -> str:
    """What the doctor says of dead letters."""
    lines = mille(system.home.root, "doctor").output.splitlines()
    return next(line for line in lines if " dead letters: " in line)


def test_a_dead_letter_is_told_shown_refused_again_and_dismissed(system: MilleRun) -> None:
    assert finding(system) == "ok   dead letters: none waits"
    place = publish(system, "9.0")
    wait_until_dead(system, place, "unknown-version")
    assert finding(system) == f"bad  dead letters: 1 wait: 1 of {TOPIC}"
    assert mille(system.home.root, "doctor").code == 1
    shown = dlq(system, "show", place).output
    for words in (
        "refused by   petitions.count-acts",
        "reason       unknown-version",
        "state        waiting",
        "key          16 bytes",
        "value        15 bytes",
        "header       ce_dataversion: 9.0",
    ):
        assert words in shown
    listed = dlq(system, "list").output
    assert place.partition("/")[2] in listed
    again = dlq(system, "redrive")
    assert (again.code, f"{place}: refused again: unknown-version" in again.output) == (1, True), again.output
    done = dlq(system, "dismiss", place, "--why", "a test of ours")
    assert (done.code, done.output) == (0, "1 dismissed\n")
    assert finding(system) == "ok   dead letters: none waits"
    assert dlq(system, "list").output == "no dead letters\n"
    assert "unknown-version" in dlq(system, "list", "--dismissed").output
    assert "state        dismissed: a test of ours" in dlq(system, "show", place).output
    redriven = dlq(system, "redrive")
    assert (redriven.code, f"{TOPIC}: 0 put back" in redriven.output) == (0, True)
    trail = mille(system.home.root, "recover", "list").output
    assert "dlq dismiss" in trail
    assert "a test of ours" in trail


def test_a_dismissal_names_places_or_all_of_a_reason_and_says_what_does_not_wait(system: MilleRun) -> None:
    places = [publish(system, "9.0"), publish(system, "1.0"), publish(system, "1.0")]
    for place, reason in zip(places, ("unknown-version", "unreadable", "unreadable"), strict=True):
        wait_until_dead(system, place, reason)
    assert dlq(system, "dismiss", "--why", "practice").code == 1
    assert dlq(system, "dismiss", places[0], "--why", " ").code == 1
    assert dlq(system, "dismiss", "--reason", "unreadable", "--why", "practice").output == "2 dismissed\n"
    assert dlq(system, "dismiss", places[0], "--why", "practice").output == "1 dismissed\n"
    twice = dlq(system, "dismiss", places[0], "--why", "practice")
    assert (twice.code, twice.output) == (1, f"mille dlq: {places[0]} does not wait: it was dismissed\n")


@pytest.mark.parametrize("command", ["list", "redrive"])
def test_a_reason_that_nothing_was_refused_for_is_named_with_those_that_there_are(
    system: MilleRun, command: str
) -> None:
    result = dlq(system, command, "--reason", "nope")
    assert result.code == 1
    assert result.output.startswith("mille dlq: no dead letter was refused for nope; the reasons are: ")


def test_a_place_without_a_dead_letter_is_named(system: MilleRun) -> None:
    for place, words in (
        (f"{TOPIC}/0/999999", f"there is no dead letter {TOPIC}/0/999999"),
        ("/0/1", "there is no dead letter /0/1"),
        ("nope", "nope is not TOPIC/PARTITION/OFFSET"),
        ("nope/0/1", "nope has no dead letters; these have: "),
    ):
        result = dlq(system, "show", place)
        assert result.code == 1
        assert result.output.startswith(f"mille dlq: {words}")
