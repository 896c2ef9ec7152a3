"""How one stream is fed, and how old documents are served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import msgspec
import uvloop

from services.marathon.domain.document import first_document
from services.marathon.http.documents import Document, Documents, as_chunk
from services.marathon.http.live import APART_S, HEARTBEAT_S, SLOW_S, Stream, TransportSink
from shared.catalog import Catalog
from shared.clock import SetClock
from tests.support.page_samples import campaign

NOON = 1_796_126_400.0
CAMPAIGN = campaign(slug="c", cases=("ana",))


@dataclass
class Reader:
    """A sink that writes down what it is given; it may be slow."""

    slow: bool = False
    got: list[str] = field(default_factory=list)

    def send(self, document: Document) -> bool:
        if not self.slow:
            self.got.append(document.tag)
        return not self.slow

    def beat(self) -> None:
        self.got.append("beat")

    def cut(self) -> None:
        self.got.append("cut")

    def end(self) -> None:
        self.got.append("end")


def document(version: int) -> Document:
    catalog = Catalog("nowhere:9092")
    totals = first_document(CAMPAIGN, NOON)
    catalog.totals["c"] = msgspec.structs.replace(totals, version=version)
    found = Documents(catalog, SetClock(NOON)).current("c")
    assert found is not None
    return found


def test_an_event_is_sent_once_and_not_within_a_second_of_the_one_before() -> None:
    reader = Reader()
    stream = Stream(reader, "1", now=0.0)
    for now, version in ((0.5, 2), (0.9, 3), (APART_S, 3), (1.2, 3), (1.5, 4), (2.0, 5)):
        stream.offer(document(version), now)
    assert reader.got == ["3", "5"]


def test_a_connection_that_is_gone_harms_nobody() -> None:
    async def use_after_end() -> None:
        served: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                served.set_result(cast("asyncio.Transport", transport))

        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await served
        sink = TransportSink(transport)
        assert sink.send(document(1))
        transport.abort()
        while not writer.transport.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0)
        assert not sink.send(document(2))
        sink.beat()
        sink.cut()
        sink.end()
        server.close()

    uvloop.run(use_after_end())


def test_a_quiet_stream_shows_that_it_lives() -> None:
    reader = Reader()
    stream = Stream(reader, "1", now=0.0)
    for now in range(int(2 * HEARTBEAT_S) + 1):
        stream.offer(document(1), float(now))
    assert reader.got == ["beat", "beat"]


def test_a_slow_reader_misses_events_and_gets_the_latest_when_it_is_back() -> None:
    reader = Reader(slow=True)
    stream = Stream(reader, "1", now=0.0)
    stream.offer(document(2), 2.0)
    stream.offer(document(3), 4.0)
    reader.slow = False
    stream.offer(document(4), 6.0)
    assert reader.got == ["4"]


def test_a_reader_that_stays_slow_is_cut_off() -> None:
    reader = Reader(slow=True)
    stream = Stream(reader, "1", now=0.0)
    stream.offer(document(2), 2.0)
    stream.offer(document(3), 2.0 + SLOW_S)
    assert reader.got == ["cut"]


def test_totals_that_nobody_renews_say_that_they_are_catching_up() -> None:
    clock = SetClock(NOON + 2)
    catalog = Catalog("nowhere:9092")
    catalog.totals["c"] = first_document(CAMPAIGN, NOON)
    documents = Documents(catalog, clock)
    fresh = documents.current("c")
    assert fresh is documents.current("c")
    clock.advance(10.4)
    old = documents.current("c")
    assert fresh is not None
    assert old is not None
    assert (fresh.totals.state, old.totals.state, old.totals.lag_seconds) == ("live", "catching_up", 12.0)
    assert old.tag != fresh.tag
    assert old.totals.version == fresh.totals.version


def test_a_final_tally_does_not_grow_old() -> None:
    catalog = Catalog("nowhere:9092")
    catalog.totals["c"] = msgspec.structs.replace(first_document(CAMPAIGN, NOON), state="frozen")
    found = Documents(catalog, SetClock(NOON + 1e6)).current("c")
    assert found is not None
    assert found.totals.state == "frozen"


def test_a_chunk_is_framed_as_http_has_it() -> None:
    assert as_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
