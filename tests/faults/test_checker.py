"""The checker notices each kind of broken promise in evidence that was made up for it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord

from tests.faults import checker
from tests.faults.checker import Expected
from tests.faults.evidence import SOURCES, Row, Tallies
from tests.faults.journal import Act, Journal
from tests.faults.load import FAMILY, MAILBOX
from tests.faults.proxy import NetworkConditions, Proxy, process_at
from tests.support.post_office import ReceivedMail

CAMPAIGN = "made-up"
SOURCE = SOURCES[0]


def letters_of(broken: list[str]) -> set[str]:
    return {text[0] for text in broken}


def record(offset: int, key: bytes, value: bytes | None = None) -> Any:
    said = json.dumps({"campaign": CAMPAIGN, "sealed": "x"}).encode() if value is None else value
    return ConsumerRecord(SOURCE.topic, 0, offset, 0, 1, key, said, 0, 0, 0, ())


def row(first: int) -> Row:
    return Row(0, first, True, "FR")


@pytest.mark.parametrize(
    ("held", "letters"),
    [
        ({b"a": row(0), b"b": row(1)}, set()),
        ({b"a": row(0)}, {"A"}),
        ({b"a": row(0), b"b": row(1), b"c": row(2)}, {"C"}),
        ({b"a": row(0), b"b": row(2)}, {"B"}),
    ],
)
def test_rows_are_held_against_the_records_of_the_topic(held: dict[bytes, Row], letters: set[str]) -> None:
    records = [record(0, b"a"), record(1, b"b"), record(2, b"b")]
    assert letters_of(checker._compare(SOURCE, CAMPAIGN, held, records, Expected())) == letters


@pytest.mark.parametrize(
    ("journal", "letters"),
    [
        (Journal(slowest=5.5), set()),
        (Journal(slowest=8.0), {"H"}),
        (Journal(hung=1), {"H"}),
        (Journal(cut=1), {"H"}),
        (Journal(without_retry_after=1), {"H"}),
    ],
)
def test_broken_promises_to_clients_are_noticed(journal: Journal, letters: set[str]) -> None:
    journal.answers.update({0: 3, 202: 5, 503: 1})
    assert letters_of(checker.promises(journal, Expected())) == letters


def test_who_is_cut_off_by_a_kill_was_promised_nothing() -> None:
    assert not checker.promises(Journal(cut=1), Expected(cut_off=True))


def test_an_answer_that_nobody_promised_is_noticed() -> None:
    journal = Journal()
    journal.answers[410] = 1
    assert letters_of(checker.promises(journal, Expected())) == {"H"}


def tally(first: int, following: int, *, part: int = 0, parts: int = 1, change: int = 1) -> bytes:
    return json.dumps(
        {
            "source": SOURCE.topic,
            "partition": 0,
            "epoch": 0,
            "first": first,
            "next": following,
            "part": part,
            "parts": parts,
            "deltas": [{"campaign": CAMPAIGN, "change": change}],
        }
    ).encode()


@pytest.mark.parametrize(
    ("batches", "fault", "total"),
    [
        ([tally(0, 3), tally(3, 5), tally(3, 5)], False, 2),
        ([tally(0, 3, parts=2), tally(0, 3, part=1, parts=2), tally(3, 4)], False, 3),
        ([tally(0, 3), tally(4, 5)], True, 2),
        ([tally(0, 3), tally(2, 5)], True, 2),
        ([tally(0, 3), tally(0, 3, change=2)], True, 1),
    ],
)
def test_tally_batches_must_follow_one_another(batches: list[bytes], fault: bool, total: int) -> None:  # noqa: FBT001
    tallies = Tallies(cast("Any", None))
    for batch in batches:
        tallies._add(batch)
    assert bool(tallies.faults) == fault
    assert tallies.sums[SOURCE.topic, CAMPAIGN] == total


@pytest.mark.parametrize(
    ("arrived", "letters"),
    [
        ([("a", "1"), ("b", "2"), ("b", "2")], set()),
        ([("a", "1"), ("b", "2"), ("b", "2"), ("b", "2")], {"D"}),
        ([("a", "1")], {"D"}),
        ([("a", "1"), ("b", "2"), ("b", "3")], {"D"}),
    ],
)
async def test_mails_must_come_and_come_as_one_message(
    arrived: list[tuple[str, str]], letters: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "LATE_COPIES_S", 0.0)
    smtp_server = SimpleNamespace(
        mails=[ReceivedMail(to, f"Message-ID: <{name}@x>\r\n\r\n".encode()) for to, name in arrived]
    )
    stand = cast("Any", SimpleNamespace(smtp_server=smtp_server))
    addresses = {Act("signature", 1): "a", Act("signature", 2): "b"}
    assert letters_of(await checker.mails(stand, addresses, 0.0, copies=2)) == letters


def test_planted_data_is_noticed_and_sealed_data_is_not_taken_for_it() -> None:
    for leak in (FAMILY.encode(), json.dumps(FAMILY).encode(), f"to={MAILBOX}.7@example.org".encode()):
        assert letters_of(checker._leaks("a log", [b"fine", leak])) == {"E"}
    assert checker._leaks("a topic", [os.urandom(600).hex().encode() for _ in range(200)]) == []


@asynccontextmanager
async def echoing() -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(0, server.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
        server.close()


async def test_the_proxy_knows_whose_connection_it_is_and_gives_each_its_weather() -> None:
    async with echoing() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert process_at(writer.get_extra_info("sockname")[1]) == os.getpid()

        async def exchange(data: bytes, within: float) -> float:
            began = time.monotonic()
            writer.write(data)
            async with asyncio.timeout(within):
                assert await reader.readexactly(len(data)) == data
            return time.monotonic() - began

        await exchange(b"fine", 5)
        proxy.set(NetworkConditions(delay_s=0.1), {os.getpid()})
        assert await exchange(b"slow", 5) >= 0.2
        proxy.set(NetworkConditions(bytes_per_s=1000), {os.getpid()})
        assert await exchange(b"x" * 300, 10) >= 0.2
        proxy.set(NetworkConditions(silent=True), {os.getpid()})
        with pytest.raises(TimeoutError):
            await exchange(b"lost?", 0.3)
        proxy.clear()
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"lost?"
        proxy.set(NetworkConditions(cut=True), {os.getpid() + 1})
        await exchange(b"others", 5)
        proxy.set(NetworkConditions(cut=True), {os.getpid()})
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(reader.readexactly(1), 5)
        writer.close()
