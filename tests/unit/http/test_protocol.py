"""What the protocol class does to connections, spoken to in raw bytes over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from shared.http.limits import ConnectionLimits
from tests.support.serving import LARGE_BYTES, HotStage, Line, Serving, post, serving, trust_everyone, until

CHUNKED = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def stage() -> HotStage:
    return HotStage()


@pytest.fixture
async def server(stage: HotStage) -> AsyncIterator[Serving]:
    async with serving(stage) as running:
        yield running


@pytest.fixture
async def line(server: Serving) -> AsyncIterator[Line]:
    connected = await server.connect()
    yield connected
    await connected.close()


async def test_a_hot_post_is_answered_when_it_is_stored_and_the_connection_goes_on(line: Line, stage: HotStage) -> None:
    for number in range(3):
        await line.send(post(b'{"n":%d}' % number))
        taken = await stage.next()
        assert taken.body == b'{"n":%d}' % number
        taken.answer.accepted(b'{"receipt":"%d"}' % number)
        status, head, body = await line.answer()
        assert (status, body) == (202, b'{"receipt":"%d"}' % number)
        assert b"connection: close" not in head
    assert stage.ordinary == []


async def test_a_hot_answer_has_the_headers_of_an_ordinary_one(line: Line, stage: HotStage) -> None:
    stage.at_once = True
    await line.send(post(b"{}"))
    hot = (await line.answer())[1]
    await line.send(post(b"leave"))
    ordinary = (await line.answer())[1]

    def names(head: bytes) -> set[bytes]:
        return {entry.partition(b":")[0] for entry in head.split(b"\r\n")[1:] if entry}

    assert names(hot) == names(ordinary)
    assert b"access-control-allow-origin: *" in hot


async def test_what_the_hot_route_leaves_goes_unchanged_to_the_ordinary_one(line: Line, stage: HotStage) -> None:
    await line.send(post(b"leave this to others"))
    assert (await line.answer())[0] == 202
    assert stage.ordinary == [b"leave this to others"]


async def test_a_fault_of_the_hot_route_leaves_the_request_to_the_ordinary_one(line: Line, stage: HotStage) -> None:
    await line.send(post(b"raise"))
    assert (await line.answer())[0] == 202
    assert stage.ordinary == [b"raise"]


async def test_a_refused_hot_post_is_a_503_with_retry_after(line: Line) -> None:
    await line.send(post(b"refuse"))
    status, head, body = await line.answer()
    assert status == 503
    assert b"retry-after: " in head
    assert b"application/problem+json" in head
    assert msgspec.json.decode(body)["status"] == 503
    await line.send(GET)
    assert (await line.answer())[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"{}", content_type="text/plain"),
        post(b"{}", path="/v1/signatures?x=1"),
        post(b"{}", "Expect: 100-continue"),
        post(b"{}", "Content-Encoding: gzip"),
        post(b"{}", "Content-Type: application/json"),
        post(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0"),
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["type", "query", "expect", "encoding", "twice", "1.0", "chunked"],
)
async def test_an_unusual_post_goes_to_the_ordinary_route(line: Line, stage: HotStage, request_bytes: bytes) -> None:
    await line.send(request_bytes)
    assert (await line.answer())[0] == 202
    assert stage.ordinary == [b"{}"]


@pytest.mark.parametrize("zeros", [1, 5_000])
@pytest.mark.parametrize("path", ["/v1/signatures", "/v1/signatures?x=1"])
async def test_a_length_may_begin_with_zeros(line: Line, stage: HotStage, zeros: int, path: str) -> None:
    stage.at_once = True
    length = b"Content-Length: "
    await line.send(post(b"{}", path=path).replace(length, length + b"0" * zeros))
    assert (await line.answer())[0] == 202
    await line.send(post(b"x" * 64 * 1024 + b"x", path=path).replace(length, length + b"0" * zeros))
    assert (await line.answer())[0] == 413


async def test_answers_come_in_the_order_of_pipelined_requests(line: Line, stage: HotStage) -> None:
    await line.send(post(b"one") + GET + post(b"two") + GET)
    taken = await stage.next()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await line.reader.readexactly(1)
    taken.answer.accepted(b'"first"')
    assert (await line.answer())[2] == b'"first"'
    assert (await line.answer())[2] == b'{"status":"alive"}'
    assert (await line.answer())[0] == 202
    assert (await line.answer())[2] == b'{"status":"alive"}'
    assert stage.ordinary == [b"two"]


async def test_a_body_in_many_pieces_is_put_together(line: Line, stage: HotStage) -> None:
    body = bytes(range(256)) * 40
    request = post(body)
    for start in range(0, len(request), 997):
        await line.send(request[start : start + 997])
        await asyncio.sleep(0)
    assert (await stage.next()).body == body


async def test_two_connections_do_not_mix(server: Serving, stage: HotStage) -> None:
    first, second = await server.connect(), await server.connect()
    await first.send(post(b"1"))
    one = await stage.next()
    await second.send(post(b"2"))
    two = await stage.next()
    two.answer.accepted(b'"second"')
    one.answer.accepted(b'"first"')
    assert (await first.answer())[2] == b'"first"'
    assert (await second.answer())[2] == b'"second"'
    await first.close()
    await second.close()


async def test_a_client_that_has_gone_is_not_written_to(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1"))
    taken = await stage.next()
    await line.reset()
    await until(lambda: not server.server.server_state.connections)
    taken.answer.accepted(b"{}")


async def test_a_client_that_only_stops_sending_still_gets_its_answer(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1"))
    line.writer.write_eof()
    taken = await stage.next()
    await asyncio.sleep(0.05)
    taken.answer.accepted(b'"late"')
    status, head, body = await line.answer()
    assert (status, body) == (202, b'"late"')
    assert b"connection: close" in head
    assert await line.ended() == b""
    await line.close()


@pytest.mark.parametrize("more", [b"", b"GET /livez HTTP/1.1\r\nHo"], ids=["whole", "and half of the next"])
async def test_so_does_one_that_asked_an_ordinary_route(server: Serving, stage: HotStage, more: bytes) -> None:
    line = await server.connect()
    await line.send(post(b"1", path="/patient") + more)
    line.writer.write_eof()
    await asyncio.sleep(0.05)
    server.sweep(60)
    stage.curtain.set()
    status, head, body = await line.answer()
    assert (status, body) == (200, b'{"length":1}')
    assert b"connection: close" in head
    assert await line.ended() == b""
    await until(lambda: not server.server.server_state.connections)
    await line.close()


async def test_and_one_that_asked_much_at_once(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1") + post(b"22", path="/patient") + GET + post(b"333", path="/patient"))
    line.writer.write_eof()
    (await stage.next()).answer.accepted(b'"first"')
    assert (await line.answer())[2] == b'"first"'
    await asyncio.sleep(0.05)
    stage.curtain.set()
    assert [(await line.answer())[2] for _ in range(3)] == [b'{"length":2}', b'{"status":"alive"}', b'{"length":3}']
    assert await line.ended() == b""
    await until(lambda: not server.server.server_state.connections)
    await line.close()


async def test_a_hot_post_is_answered_though_the_next_request_is_cut_off(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1") + post(b"22", path="/patient")[:-1])
    line.writer.write_eof()
    taken = await stage.next()
    await asyncio.sleep(0.05)
    taken.answer.accepted(b'"first"')
    assert (await line.answer())[2] == b'"first"'
    assert await line.ended() == b""
    await until(lambda: not server.server.server_state.connections)
    await line.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        GET[:-2],
        post(b"22", path="/patient")[:-1],
        post(b"22")[:-1],
        b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n",
        b"rubbish\r\n\r\n",
        post(b"x" * 70_000)[:-1],
    ],
    ids=["silent", "head", "body", "hot body", "endless", "refused", "too large"],
)
async def test_a_client_that_stops_sending_is_not_waited_for_where_no_answer_is_due(
    server: Serving, request_bytes: bytes
) -> None:
    line = await server.connect()
    await line.send(request_bytes)
    await asyncio.sleep(0.05)
    line.writer.write_eof()
    await line.ended()
    await until(lambda: not server.server.server_state.connections)
    await line.close()


async def test_a_client_that_asks_for_it_is_closed_after_its_answer(line: Line, stage: HotStage) -> None:
    stage.at_once = True
    await line.send(post(b"{}", "Connection: close"))
    status, head, _ = await line.answer()
    assert status == 202
    assert b"connection: close" in head
    assert await line.ended() == b""


async def test_a_shutdown_waits_for_answers_that_are_due(stage: HotStage) -> None:
    async with serving(stage) as running:
        line = await running.connect()
        idle = await running.connect()
        await line.send(post(b"1"))
        taken = await stage.next()
        running.server.should_exit = True
        assert await idle.ended() == b""
        assert not running.server.force_exit
        taken.answer.accepted(b'"stored"')
        status, head, body = await line.answer()
        assert (status, body) == (202, b'"stored"')
        assert b"connection: close" in head
        assert running.app.state.closing.is_set()
    await line.close()
    await idle.close()


async def test_a_trusted_proxy_names_the_client_on_both_routes(stage: HotStage) -> None:
    async with serving(stage, change=trust_everyone) as running:
        line = await running.connect()
        await line.send(post(b"1", "X-Forwarded-For: 198.51.100.7"))
        taken = await stage.next()
        assert taken.client.address == "198.51.100.7"
        taken.answer.accepted(b"{}")
        await line.answer()
        await line.send(post(b"leave", "X-Forwarded-For: 198.51.100.7"))
        assert msgspec.json.decode((await line.answer())[2])["client"] == "198.51.100.7"
        await line.close()


# Bounds


@pytest.mark.parametrize("path", ["/v1/signatures", "/unread", "/nowhere"])
async def test_a_body_over_the_limit_is_a_413_that_arrives(server: Serving, path: str) -> None:
    line = await server.connect()
    body = b"x" * 10_000_000
    sending = asyncio.create_task(line.send(post(body, path=path)))
    status, head, _ = await line.answer()
    assert status == 413
    assert b"connection: close" in head
    sending.cancel()
    await line.close()


async def test_a_body_that_never_ends_is_a_413_that_arrives(server: Serving) -> None:
    line = await server.connect()
    await line.send(CHUNKED)
    for _ in range(20):
        await line.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
    status, head, _ = await line.answer()
    assert status == 413
    assert b"connection: close" in head
    await line.close()


async def test_an_unread_body_does_not_spoil_the_answer(line: Line) -> None:
    await line.send(post(b"x" * 1_000, path="/unread"))
    assert (await line.answer())[2] == b'{"read":false}'
    await line.send(GET)
    assert (await line.answer())[0] == 200


@pytest.mark.parametrize("pieces", [1, 20])
async def test_headers_over_the_limit_are_a_431(server: Serving, pieces: int) -> None:
    line = await server.connect()
    await line.send(b"GET /livez HTTP/1.1\r\n")
    for number in range(pieces):
        await line.send(b"X-%d: " % number + b"x" * (20_000 // pieces) + b"\r\n")
        await asyncio.sleep(0)
    await line.send(b"\r\n")
    assert (await line.answer())[0] == 431
    await line.close()


async def test_one_header_without_end_is_a_431(server: Serving) -> None:
    line = await server.connect()
    await line.send(b"GET /livez HTTP/1.1\r\nX: ")
    for _ in range(3):
        await line.send(b"x" * 8_000)
        await asyncio.sleep(0.02)
    assert (await line.answer())[0] == 431
    await line.close()


async def test_headers_within_the_limit_are_read(line: Line) -> None:
    await line.send(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 16_000 + b"\r\n\r\n")
    assert (await line.answer())[0] == 200


async def test_trailers_are_not_kept(line: Line) -> None:
    await line.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    for number in range(15):
        await line.send(b"X-%d: " % number + b"x" * 1_000 + b"\r\n")
    await line.send(b"\r\n" + GET)
    assert (await line.answer())[0] == 200
    assert (await line.answer())[2] == b'{"status":"alive"}'


@pytest.mark.parametrize("piece", [b"x" * 1_000, b"X: " + b"x" * 995 + b"\r\n"], ids=["one", "many"])
async def test_trailers_over_the_limit_are_a_431(server: Serving, stage: HotStage, piece: bytes) -> None:
    line = await server.connect()
    await line.send(CHUNKED + b"1\r\nx\r\n0\r\nX: x\r\n")
    for _ in range(20):
        await line.send(piece)
        await asyncio.sleep(0.01)
    assert (await line.answer())[0] == 431
    assert stage.ordinary == []
    await line.close()


async def test_a_body_in_many_chunks_has_no_trailers(line: Line, stage: HotStage) -> None:
    await line.send(CHUNKED)
    for _ in range(60):
        await line.send(b"1;why=not\r\nx\r\n" * 1_000)
        await asyncio.sleep(0)
    await line.send(b"0\r\n\r\n")
    assert (await line.answer())[0] == 202
    assert stage.ordinary == [b"x" * 60_000]


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"]
)
async def test_what_is_no_http_is_a_400(server: Serving, rubbish: bytes) -> None:
    line = await server.connect()
    await line.send(rubbish)
    status, head, body = await line.answer()
    assert status == 400
    assert b"application/problem+json" in head
    assert msgspec.json.decode(body)["status"] == 400
    await line.close()


async def test_rubbish_behind_a_hot_post_does_not_overtake_its_answer(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1") + b"\x00\x01\x02 rubbish\r\n\r\n")
    (await stage.next()).answer.accepted(b"{}")
    assert not (await line.ended()).startswith(b"HTTP/1.1 400")
    await line.close()


async def test_a_flood_of_pipelined_requests_ends_the_connection(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1") + GET * 5_000)
    await stage.next()
    await line.ended()
    await line.close()


async def test_silence_ends_a_connection_after_its_time(server: Serving) -> None:
    silent, half, served = await server.connect(), await server.connect(), await server.connect()
    await half.send(b"POST /v1/signatures HTTP/1.1\r\nHost:")
    await served.send(GET)
    await served.answer()
    server.sweep(9)
    await served.send(GET)
    assert (await served.answer())[0] == 200
    server.sweep(11)
    assert await silent.ended() == b""
    assert (await half.answer())[0] == 408
    await served.send(GET)
    assert (await served.answer())[0] == 200
    server.sweep(66)
    assert await served.ended() == b""
    for line in (silent, half, served):
        await line.close()


@pytest.mark.parametrize("kind", ["hot", "ordinary"])
async def test_a_body_that_comes_too_slowly_is_a_408(server: Serving, stage: HotStage, kind: str) -> None:
    line = await server.connect()
    unusual = ["X-Unusual: 1"] if kind == "hot" else ["Content-Encoding: identity"]
    await line.send(post(b"x" * 100, *unusual)[:-50])
    await until(lambda: any(connection._reading for connection in server.server.server_state.connections))  # type: ignore[union-attr]
    server.sweep(19)
    await line.send(b"x")
    await asyncio.sleep(0.05)
    server.sweep(21)
    assert (await line.answer())[0] == 408
    assert stage.ordinary == []
    await line.close()


LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = LARGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def waiting(server: Serving) -> int:
    """How many bytes wait to be sent on the one connection."""
    (connection,) = server.server.server_state.connections
    return int(connection._raw.get_write_buffer_size())  # type: ignore[union-attr]


async def full(server: Serving) -> None:
    """Wait until no more goes out on the one connection: nobody reads at its other end."""
    await until(lambda: waiting(server))
    before = -1
    while before != (before := waiting(server)):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("request_bytes", [LARGE, LARGE * 20, CLOSING, LARGE + post(b"1")[:-1]])
async def test_a_client_that_never_reads_is_cut_off(server: Serving, request_bytes: bytes) -> None:
    line = await server.connect()
    await line.send(request_bytes)
    await full(server)
    for seconds in range(0, 130, 10):
        server.sweep(seconds)
    await until(lambda: not server.server.server_state.connections)
    await line.close()


@pytest.mark.parametrize("request_bytes", [LARGE * 2, CLOSING])
async def test_a_client_that_reads_slowly_is_not_cut_off(server: Serving, request_bytes: bytes) -> None:
    line = await server.connect()
    await line.send(request_bytes)
    head = await line.reader.readuntil(b"\r\n\r\n")
    assert b"200" in head
    seconds = 0
    for _ in range(3):
        await full(server)
        server.sweep(seconds)
        server.sweep(seconds + 59)
        seconds += 61
        await line.reader.readexactly(LARGE_BYTES // 4)
    await full(server)
    server.sweep(seconds)
    assert await line.reader.readexactly(LARGE_BYTES // 4) == bytes(LARGE_BYTES // 4)
    await line.close()


async def test_who_writes_past_the_protocol_sees_to_slow_readers(server: Serving) -> None:
    line = await server.connect()
    await line.send(b"GET /lent HTTP/1.1\r\nHost: x\r\n\r\n")
    await full(server)
    for seconds in range(0, 600, 10):
        server.sweep(seconds)
    await asyncio.sleep(0.05)
    (connection,) = server.server.server_state.connections
    connection._raw.close()  # type: ignore[union-attr]
    for seconds in range(600, 700, 10):
        server.sweep(seconds)
    await until(lambda: not server.server.server_state.connections)
    await line.close()


async def test_waiting_for_storage_is_not_the_clients_slowness(server: Serving, stage: HotStage) -> None:
    line = await server.connect()
    await line.send(post(b"1"))
    taken = await stage.next()
    server.sweep(600)
    taken.answer.accepted(b"{}")
    assert (await line.answer())[0] == 202
    await line.close()


async def test_one_connection_too_many_is_told_so(stage: HotStage) -> None:
    async with serving(stage, limits=ConnectionLimits(connections=2)) as running:
        held = [await running.connect(), await running.connect()]
        for line in held:
            await line.send(GET)
            assert (await line.answer())[0] == 200
        refused = await running.connect()
        status, head, _ = await refused.answer()
        assert status == 503
        assert b"retry-after" in head
        for line in (*held, refused):
            await line.close()


async def test_an_upgrade_is_not_followed(line: Line) -> None:
    await line.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await line.answer())[0] == 200


async def test_a_streamed_answer_is_left_alone(line: Line) -> None:
    await line.send(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"0\n" in await line.ended()


def head(path: str) -> bytes:
    return b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


async def test_head_is_answered_as_get_without_a_body_and_the_connection_goes_on(line: Line) -> None:
    for path in ("/livez", "/openapi.json", "/docs/style.css", "/nothing", "/v1/signatures"):
        await line.send(GET.replace(b"/livez", path.encode()))
        status, wanted, _ = await line.answer()
        await line.send(head(path))
        async with asyncio.timeout(10):
            found = (await line.reader.readuntil(b"\r\n\r\n")).lower()
        assert found == wanted, path
        assert int(found.split()[1]) == status


async def test_head_of_an_endless_answer_ends_with_its_headers(line: Line) -> None:
    for path in ("/endless", "/slow"):
        await line.send(head(path) + GET)
        async with asyncio.timeout(10):
            headers = await line.reader.readuntil(b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 200 ")
        assert await line.answer() == await _answer_to(line, GET)


async def _answer_to(line: Line, request: bytes) -> tuple[int, bytes, bytes]:
    await line.send(request)
    return await line.answer()
