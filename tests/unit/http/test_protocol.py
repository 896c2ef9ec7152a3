"""The protocol class, tested with raw bytes over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from shared.http.limits import ConnectionLimits
from tests.support.serving import (
    LARGE_BYTES,
    FastRouteStub,
    RawClient,
    RunningServer,
    post,
    run_server,
    trust_loopback_proxies,
    wait_until,
)
from tests.support.waiting import stays, wait_until_settled

CHUNKED = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def route() -> FastRouteStub:
    return FastRouteStub()


@pytest.fixture
async def server(route: FastRouteStub) -> AsyncIterator[RunningServer]:
    async with run_server(route) as running:
        yield running


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[RawClient]:
    connected = await server.connect()
    yield connected
    await connected.close()


async def test_a_fast_post_is_answered_when_it_is_stored_and_the_connection_goes_on(
    client: RawClient, route: FastRouteStub
) -> None:
    for number in range(3):
        await client.send(post(b'{"n":%d}' % number))
        request = await route.next_request()
        assert request.body == b'{"n":%d}' % number
        request.answer.send_accepted(b'{"receipt":"%d"}' % number)
        status, head, body = await client.read_response()
        assert (status, body) == (202, b'{"receipt":"%d"}' % number)
        assert b"connection: close" not in head
    assert route.ordinary_bodies == []


async def test_a_fast_answer_has_the_headers_of_an_ordinary_one(client: RawClient, route: FastRouteStub) -> None:
    route.answer_immediately = True
    await client.send(post(b"{}"))
    fast = (await client.read_response())[1]
    await client.send(post(b"leave"))
    ordinary = (await client.read_response())[1]

    def names(head: bytes) -> set[bytes]:
        return {entry.partition(b":")[0] for entry in head.split(b"\r\n")[1:] if entry}

    assert names(fast) == names(ordinary)
    assert b"access-control-allow-origin: *" in fast


async def test_what_the_fast_route_leaves_goes_unchanged_to_the_ordinary_one(
    client: RawClient, route: FastRouteStub
) -> None:
    await client.send(post(b"leave this to others"))
    assert (await client.read_response())[0] == 202
    assert route.ordinary_bodies == [b"leave this to others"]


async def test_a_fault_of_the_fast_route_leaves_the_request_to_the_ordinary_one(
    client: RawClient, route: FastRouteStub
) -> None:
    await client.send(post(b"raise"))
    assert (await client.read_response())[0] == 202
    assert route.ordinary_bodies == [b"raise"]


async def test_a_refused_fast_post_is_a_503_with_retry_after(client: RawClient) -> None:
    await client.send(post(b"refuse"))
    status, head, body = await client.read_response()
    assert status == 503
    assert b"retry-after: " in head
    assert b"application/problem+json" in head
    assert msgspec.json.decode(body)["status"] == 503
    await client.send(GET)
    assert (await client.read_response())[0] == 200


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
async def test_an_unusual_post_goes_to_the_ordinary_route(
    client: RawClient, route: FastRouteStub, request_bytes: bytes
) -> None:
    await client.send(request_bytes)
    assert (await client.read_response())[0] == 202
    assert route.ordinary_bodies == [b"{}"]


@pytest.mark.parametrize("zeros", [1, 5_000])
@pytest.mark.parametrize("path", ["/v1/signatures", "/v1/signatures?x=1"])
async def test_a_length_may_begin_with_zeros(client: RawClient, route: FastRouteStub, zeros: int, path: str) -> None:
    route.answer_immediately = True
    length = b"Content-Length: "
    await client.send(post(b"{}", path=path).replace(length, length + b"0" * zeros))
    assert (await client.read_response())[0] == 202
    await client.send(post(b"x" * 64 * 1024 + b"x", path=path).replace(length, length + b"0" * zeros))
    assert (await client.read_response())[0] == 413


async def test_answers_come_in_the_order_of_pipelined_requests(client: RawClient, route: FastRouteStub) -> None:
    await client.send(post(b"one") + GET + post(b"two") + GET)
    request = await route.next_request()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.reader.readexactly(1)
    request.answer.send_accepted(b'"first"')
    assert (await client.read_response())[2] == b'"first"'
    assert (await client.read_response())[2] == b'{"status":"alive"}'
    assert (await client.read_response())[0] == 202
    assert (await client.read_response())[2] == b'{"status":"alive"}'
    assert route.ordinary_bodies == [b"two"]


async def test_a_body_in_many_pieces_is_put_together(client: RawClient, route: FastRouteStub) -> None:
    body = bytes(range(256)) * 40
    request = post(body)
    for start in range(0, len(request), 997):
        await client.send(request[start : start + 997])
        await asyncio.sleep(0)
    assert (await route.next_request()).body == body


async def test_two_connections_do_not_mix(server: RunningServer, route: FastRouteStub) -> None:
    first, second = await server.connect(), await server.connect()
    await first.send(post(b"1"))
    first_request = await route.next_request()
    await second.send(post(b"2"))
    second_request = await route.next_request()
    second_request.answer.send_accepted(b'"second"')
    first_request.answer.send_accepted(b'"first"')
    assert (await first.read_response())[2] == b'"first"'
    assert (await second.read_response())[2] == b'"second"'
    await first.close()
    await second.close()


async def test_a_client_that_has_gone_is_not_written_to(server: RunningServer, route: FastRouteStub) -> None:
    client = await server.connect()
    await client.send(post(b"1"))
    request = await route.next_request()
    await client.reset()
    await wait_until(lambda: not server.server.server_state.connections)
    request.answer.send_accepted(b"{}")


async def test_a_client_that_only_stops_sending_still_gets_its_answer(
    server: RunningServer, route: FastRouteStub
) -> None:
    client = await server.connect()
    await client.send(post(b"1"))
    client.writer.write_eof()
    request = await route.next_request()
    await stays(lambda: server.server.server_state.connections)
    request.answer.send_accepted(b'"late"')
    status, head, body = await client.read_response()
    assert (status, body) == (202, b'"late"')
    assert b"connection: close" in head
    assert await client.read_to_end() == b""
    await client.close()


@pytest.mark.parametrize("more", [b"", b"GET /livez HTTP/1.1\r\nHo"], ids=["whole", "and half of the next"])
async def test_so_does_one_that_asked_an_ordinary_route(
    server: RunningServer, route: FastRouteStub, more: bytes
) -> None:
    client = await server.connect()
    await client.send(post(b"1", path="/patient") + more)
    client.writer.write_eof()
    await stays(lambda: server.server.server_state.connections)
    server.enforce_time_limits(60)
    route.gate.set()
    status, head, body = await client.read_response()
    assert (status, body) == (200, b'{"length":1}')
    assert b"connection: close" in head
    assert await client.read_to_end() == b""
    await wait_until(lambda: not server.server.server_state.connections)
    await client.close()


async def test_and_one_that_asked_much_at_once(server: RunningServer, route: FastRouteStub) -> None:
    client = await server.connect()
    await client.send(post(b"1") + post(b"22", path="/patient") + GET + post(b"333", path="/patient"))
    client.writer.write_eof()
    (await route.next_request()).answer.send_accepted(b'"first"')
    assert (await client.read_response())[2] == b'"first"'
    await stays(lambda: server.server.server_state.connections)
    route.gate.set()
    assert [(await client.read_response())[2] for _ in range(3)] == [
        b'{"length":2}',
        b'{"status":"alive"}',
        b'{"length":3}',
    ]
    assert await client.read_to_end() == b""
    await wait_until(lambda: not server.server.server_state.connections)
    await client.close()


async def test_a_fast_post_is_answered_though_the_next_request_is_cut_off(
    server: RunningServer, route: FastRouteStub
) -> None:
    client = await server.connect()
    await client.send(post(b"1") + post(b"22", path="/patient")[:-1])
    client.writer.write_eof()
    request = await route.next_request()
    await stays(lambda: server.server.server_state.connections)
    request.answer.send_accepted(b'"first"')
    assert (await client.read_response())[2] == b'"first"'
    assert await client.read_to_end() == b""
    await wait_until(lambda: not server.server.server_state.connections)
    await client.close()


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
    ids=["silent", "head", "body", "fast body", "endless", "refused", "too large"],
)
async def test_a_client_that_stops_sending_is_not_waited_for_where_no_answer_is_due(
    server: RunningServer, request_bytes: bytes
) -> None:
    client = await server.connect()
    await client.send(request_bytes)
    await stays(lambda: server.server.server_state.connections)
    client.writer.write_eof()
    await client.read_to_end()
    await wait_until(lambda: not server.server.server_state.connections)
    await client.close()


async def test_a_client_that_asks_for_it_is_closed_after_its_answer(client: RawClient, route: FastRouteStub) -> None:
    route.answer_immediately = True
    await client.send(post(b"{}", "Connection: close"))
    status, head, _ = await client.read_response()
    assert status == 202
    assert b"connection: close" in head
    assert await client.read_to_end() == b""


async def test_a_shutdown_waits_for_answers_that_are_due(route: FastRouteStub) -> None:
    async with run_server(route) as running:
        client = await running.connect()
        idle = await running.connect()
        await client.send(post(b"1"))
        request = await route.next_request()
        running.server.should_exit = True
        assert await idle.read_to_end() == b""
        assert not running.server.force_exit
        request.answer.send_accepted(b'"stored"')
        status, head, body = await client.read_response()
        assert (status, body) == (202, b'"stored"')
        assert b"connection: close" in head
        assert running.app.state.closing.is_set()
    await client.close()
    await idle.close()


async def test_a_trusted_proxy_names_the_client_on_both_routes(route: FastRouteStub) -> None:
    async with run_server(route, configure=trust_loopback_proxies) as running:
        client = await running.connect()
        await client.send(post(b"1", "X-Forwarded-For: 198.51.100.7"))
        request = await route.next_request()
        assert request.client.address == "198.51.100.7"
        request.answer.send_accepted(b"{}")
        await client.read_response()
        await client.send(post(b"leave", "X-Forwarded-For: 198.51.100.7"))
        assert msgspec.json.decode((await client.read_response())[2])["client"] == "198.51.100.7"
        await client.close()


# Bounds


@pytest.mark.parametrize("path", ["/v1/signatures", "/unread", "/nowhere"])
async def test_a_body_over_the_limit_is_a_413_that_arrives(server: RunningServer, path: str) -> None:
    client = await server.connect()
    body = b"x" * 10_000_000
    sending = asyncio.create_task(client.send(post(body, path=path)))
    status, head, _ = await client.read_response()
    assert status == 413
    assert b"connection: close" in head
    sending.cancel()
    await client.close()


async def test_a_body_that_never_ends_is_a_413_that_arrives(server: RunningServer) -> None:
    client = await server.connect()
    await client.send(CHUNKED)
    for _ in range(20):
        await client.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
    status, head, _ = await client.read_response()
    assert status == 413
    assert b"connection: close" in head
    await client.close()


async def test_an_unread_body_does_not_spoil_the_answer(client: RawClient) -> None:
    await client.send(post(b"x" * 1_000, path="/unread"))
    assert (await client.read_response())[2] == b'{"read":false}'
    await client.send(GET)
    assert (await client.read_response())[0] == 200


@pytest.mark.parametrize("pieces", [1, 20])
async def test_headers_over_the_limit_are_a_431(server: RunningServer, pieces: int) -> None:
    client = await server.connect()
    await client.send(b"GET /livez HTTP/1.1\r\n")
    for number in range(pieces):
        await client.send(b"X-%d: " % number + b"x" * (20_000 // pieces) + b"\r\n")
        await asyncio.sleep(0)
    await client.send(b"\r\n")
    assert (await client.read_response())[0] == 431
    await client.close()


async def test_one_header_without_end_is_a_431(server: RunningServer) -> None:
    client = await server.connect()
    await client.send(b"GET /livez HTTP/1.1\r\nX: ")
    for _ in range(3):
        await client.send(b"x" * 8_000)
        await asyncio.sleep(0)
    assert (await client.read_response())[0] == 431
    await client.close()


async def test_headers_within_the_limit_are_read(client: RawClient) -> None:
    await client.send(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 16_000 + b"\r\n\r\n")
    assert (await client.read_response())[0] == 200


async def test_trailers_are_not_kept(client: RawClient) -> None:
    await client.send(b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    for number in range(15):
        await client.send(b"X-%d: " % number + b"x" * 1_000 + b"\r\n")
    await client.send(b"\r\n" + GET)
    assert (await client.read_response())[0] == 200
    assert (await client.read_response())[2] == b'{"status":"alive"}'


@pytest.mark.parametrize("piece", [b"x" * 1_000, b"X: " + b"x" * 995 + b"\r\n"], ids=["one", "many"])
async def test_trailers_over_the_limit_are_a_431(server: RunningServer, route: FastRouteStub, piece: bytes) -> None:
    client = await server.connect()
    await client.send(CHUNKED + b"1\r\nx\r\n0\r\nX: x\r\n")
    for _ in range(20):
        await client.send(piece)
        await asyncio.sleep(0)
    assert (await client.read_response())[0] == 431
    assert route.ordinary_bodies == []
    await client.close()


async def test_a_body_in_many_chunks_has_no_trailers(client: RawClient, route: FastRouteStub) -> None:
    await client.send(CHUNKED)
    for _ in range(60):
        await client.send(b"1;why=not\r\nx\r\n" * 1_000)
        await asyncio.sleep(0)
    await client.send(b"0\r\n\r\n")
    assert (await client.read_response())[0] == 202
    assert route.ordinary_bodies == [b"x" * 60_000]


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"]
)
async def test_what_is_no_http_is_a_400(server: RunningServer, rubbish: bytes) -> None:
    client = await server.connect()
    await client.send(rubbish)
    status, head, body = await client.read_response()
    assert status == 400
    assert b"application/problem+json" in head
    assert msgspec.json.decode(body)["status"] == 400
    await client.close()


async def test_rubbish_behind_a_fast_post_does_not_overtake_its_answer(
    server: RunningServer, route: FastRouteStub
) -> None:
    client = await server.connect()
    await client.send(post(b"1") + b"\x00\x01\x02 rubbish\r\n\r\n")
    (await route.next_request()).answer.send_accepted(b"{}")
    assert not (await client.read_to_end()).startswith(b"HTTP/1.1 400")
    await client.close()


async def test_a_flood_of_pipelined_requests_ends_the_connection(server: RunningServer, route: FastRouteStub) -> None:
    client = await server.connect()
    await client.send(post(b"1") + GET * 5_000)
    await route.next_request()
    await client.read_to_end()
    await client.close()


async def test_silence_ends_a_connection_after_its_time(server: RunningServer) -> None:
    silent, half, served = await server.connect(), await server.connect(), await server.connect()
    await half.send(b"POST /v1/signatures HTTP/1.1\r\nHost:")
    await served.send(GET)
    await served.read_response()
    server.enforce_time_limits(9)
    await served.send(GET)
    assert (await served.read_response())[0] == 200
    server.enforce_time_limits(11)
    assert await silent.read_to_end() == b""
    assert (await half.read_response())[0] == 408
    await served.send(GET)
    assert (await served.read_response())[0] == 200
    server.enforce_time_limits(66)
    assert await served.read_to_end() == b""
    for client in (silent, half, served):
        await client.close()


@pytest.mark.parametrize("kind", ["fast", "ordinary"])
async def test_a_body_that_comes_too_slowly_is_a_408(server: RunningServer, route: FastRouteStub, kind: str) -> None:
    client = await server.connect()
    unusual = ["X-Unusual: 1"] if kind == "fast" else ["Content-Encoding: identity"]
    await client.send(post(b"x" * 100, *unusual)[:-50])
    await wait_until(lambda: any(connection._read_state for connection in server.server.server_state.connections))  # type: ignore[union-attr]
    server.enforce_time_limits(19)
    await client.send(b"x")
    await stays(lambda: server.server.server_state.connections)
    server.enforce_time_limits(21)
    assert (await client.read_response())[0] == 408
    assert route.ordinary_bodies == []
    await client.close()


LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = LARGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def pending_bytes(server: RunningServer) -> int:
    """Return the number of bytes that wait to be sent on the one connection."""
    (connection,) = server.server.server_state.connections
    return int(connection._raw_transport.get_write_buffer_size())  # type: ignore[union-attr]


async def wait_until_blocked(server: RunningServer) -> None:
    """Wait until the one connection sends no more, because its client does not read."""
    await wait_until(lambda: pending_bytes(server))
    await wait_until_settled(lambda: pending_bytes(server))


@pytest.mark.parametrize("request_bytes", [LARGE, LARGE * 20, CLOSING, LARGE + post(b"1")[:-1]])
async def test_a_client_that_never_reads_is_cut_off(server: RunningServer, request_bytes: bytes) -> None:
    client = await server.connect()
    await client.send(request_bytes)
    await wait_until_blocked(server)
    for seconds in range(0, 130, 10):
        server.enforce_time_limits(seconds)
    await wait_until(lambda: not server.server.server_state.connections)
    await client.close()


@pytest.mark.parametrize("request_bytes", [LARGE * 2, CLOSING])
async def test_a_client_that_reads_slowly_is_not_cut_off(server: RunningServer, request_bytes: bytes) -> None:
    client = await server.connect()
    await client.send(request_bytes)
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"200" in head
    seconds = 0
    for _ in range(3):
        await wait_until_blocked(server)
        server.enforce_time_limits(seconds)
        server.enforce_time_limits(seconds + 59)
        seconds += 61
        await client.reader.readexactly(LARGE_BYTES // 4)
    await wait_until_blocked(server)
    server.enforce_time_limits(seconds)
    assert await client.reader.readexactly(LARGE_BYTES // 4) == bytes(LARGE_BYTES // 4)
    await client.close()


async def test_who_writes_past_the_protocol_sees_to_slow_readers(server: RunningServer) -> None:
    client = await server.connect()
    await client.send(b"GET /lent HTTP/1.1\r\nHost: x\r\n\r\n")
    await wait_until_blocked(server)
    for seconds in range(0, 600, 10):
        server.enforce_time_limits(seconds)
    await stays(lambda: server.server.server_state.connections)
    (connection,) = server.server.server_state.connections
    connection._raw_transport.close()  # type: ignore[union-attr]
    for seconds in range(600, 700, 10):
        server.enforce_time_limits(seconds)
    await wait_until(lambda: not server.server.server_state.connections)
    await client.close()


async def test_waiting_for_storage_is_not_the_clients_slowness(server: RunningServer, route: FastRouteStub) -> None:
    client = await server.connect()
    await client.send(post(b"1"))
    request = await route.next_request()
    server.enforce_time_limits(600)
    request.answer.send_accepted(b"{}")
    assert (await client.read_response())[0] == 202
    await client.close()


async def test_one_connection_too_many_is_told_so(route: FastRouteStub) -> None:
    async with run_server(route, limits=ConnectionLimits(max_connections=2)) as running:
        open_clients = [await running.connect(), await running.connect()]
        for client in open_clients:
            await client.send(GET)
            assert (await client.read_response())[0] == 200
        refused = await running.connect()
        status, head, _ = await refused.read_response()
        assert status == 503
        assert b"retry-after" in head
        for client in (*open_clients, refused):
            await client.close()


async def test_an_upgrade_is_not_followed(client: RawClient) -> None:
    await client.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert (await client.read_response())[0] == 200


async def test_a_streamed_answer_is_left_alone(client: RawClient) -> None:
    await client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"0\n" in await client.read_to_end()


def head_request(path: str) -> bytes:
    return b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


async def test_head_is_answered_as_get_without_a_body_and_the_connection_goes_on(client: RawClient) -> None:
    for path in ("/livez", "/openapi.json", "/docs/style.css", "/nothing", "/v1/signatures"):
        await client.send(GET.replace(b"/livez", path.encode()))
        status, expected_head, _ = await client.read_response()
        await client.send(head_request(path))
        async with asyncio.timeout(10):
            head_response = (await client.reader.readuntil(b"\r\n\r\n")).lower()
        assert head_response == expected_head, path
        assert int(head_response.split()[1]) == status


async def test_head_of_an_endless_answer_ends_with_its_headers(client: RawClient) -> None:
    for path in ("/endless", "/slow"):
        await client.send(head_request(path) + GET)
        async with asyncio.timeout(10):
            headers = await client.reader.readuntil(b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 200 ")
        assert await client.read_response() == await _response_to(client, GET)


async def _response_to(client: RawClient, request: bytes) -> tuple[int, bytes, bytes]:
    await client.send(request)
    return await client.read_response()
