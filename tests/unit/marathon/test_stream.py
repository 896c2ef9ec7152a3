"""How one stream is fed, and how old documents are served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import msgspec
import uvloop

from services.marathon.domain.document import first_document
from services.marathon.http.documents import TotalsDocument, TotalsDocuments, as_chunk
from services.marathon.http.live import (
    HEARTBEAT,
    HEARTBEAT_INTERVAL_S,
    MAX_SLOW_S,
    MAX_UNREAD_BYTES,
    MIN_EVENT_INTERVAL_S,
    Stream,
)
from shared.catalog import Catalog
from tests.support.clock import ManualClock
from tests.support.page_samples import campaign

NOON = 1_796_126_400.0
CAMPAIGN = campaign(slug="c", cases=("ana",))


@dataclass
class RecordingTransport(asyncio.Transport):
    """A transport that records what is written to it; its client may be slow."""

    slow: bool = False
    written: list[bytes] = field(default_factory=list)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return MAX_UNREAD_BYTES + 1 if self.slow else 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.written.append(b"abort")


def document(version: int) -> TotalsDocument:
    catalog = Catalog("nowhere:9092")
    totals = first_document(CAMPAIGN, NOON)
    catalog.totals["c"] = msgspec.structs.replace(totals, version=version)
    served = TotalsDocuments(catalog, ManualClock(NOON)).current("c")
    assert served is not None
    return served


def test_an_event_is_sent_once_and_not_within_a_second_of_the_one_before() -> None:
    transport = RecordingTransport()
    stream = Stream(transport, "1", now=0.0)
    for now, version in ((0.5, 2), (0.9, 3), (MIN_EVENT_INTERVAL_S, 3), (1.2, 3), (1.5, 4), (2.0, 5)):
        stream.send_if_due(document(version), now)
    assert transport.written == [document(3).chunk, document(5).chunk]


def test_a_connection_that_is_gone_harms_nobody() -> None:
    async def use_after_end() -> None:
        accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(cast("asyncio.Transport", transport))

        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await accepted
        stream = Stream(transport, "0", now=0.0)
        stream.send_if_due(document(1), 1.0)
        assert stream.tag == "1"
        transport.abort()
        while not writer.transport.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0)
        stream.send_if_due(document(2), 2.0)
        stream.send_if_due(document(1), 20.0)
        stream.send_if_due(document(2), 100.0)
        stream.end()
        assert stream.tag == "1"
        server.close()

    uvloop.run(use_after_end())


def test_a_quiet_stream_shows_that_it_lives() -> None:
    transport = RecordingTransport()
    stream = Stream(transport, "1", now=0.0)
    for now in range(int(2 * HEARTBEAT_INTERVAL_S) + 1):
        stream.send_if_due(document(1), float(now))
    assert transport.written == [HEARTBEAT, HEARTBEAT]


def test_a_slow_reader_misses_events_and_gets_the_latest_when_it_is_back() -> None:
    transport = RecordingTransport(slow=True)
    stream = Stream(transport, "1", now=0.0)
    stream.send_if_due(document(2), 2.0)
    stream.send_if_due(document(3), 4.0)
    transport.slow = False
    stream.send_if_due(document(4), 6.0)
    assert transport.written == [document(4).chunk]


def test_a_reader_that_stays_slow_is_cut_off() -> None:
    transport = RecordingTransport(slow=True)
    stream = Stream(transport, "1", now=0.0)
    stream.send_if_due(document(2), 2.0)
    stream.send_if_due(document(3), 2.0 + MAX_SLOW_S)
    assert transport.written == [b"abort"]


def test_totals_that_nobody_renews_say_that_they_are_catching_up() -> None:
    clock = ManualClock(NOON + 2)
    catalog = Catalog("nowhere:9092")
    catalog.totals["c"] = first_document(CAMPAIGN, NOON)
    documents = TotalsDocuments(catalog, clock)
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
    served = TotalsDocuments(catalog, ManualClock(NOON + 1e6)).current("c")
    assert served is not None
    assert served.totals.state == "frozen"


def test_a_chunk_is_framed_as_http_has_it() -> None:
    assert as_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
