from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy.demo.client import Client
from deploy.demo.posts import JSON, Post
from deploy.demo.sender import DemoError, Journal, Sender

ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
AWAY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 2\r\n\r\n"
HANG_UP = b""


class Server:
    """Answers each request with the next of `responses`; an empty one ends the connection."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = list(responses)
        self.requests: list[bytes] = []
        self.connections = 0
        self.origin = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                response = self.responses.pop(0)
                writer.write(response)
                if response == HANG_UP or b"connection: close" in response:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(*responses: bytes) -> AsyncIterator[Server]:
    server = Server(*responses)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.origin = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield server


@asynccontextmanager
async def sending(server: Server) -> AsyncIterator[tuple[Sender, Journal]]:
    journal = Journal()
    sender = Sender({"petitions": server.origin}, "a-key", journal)
    yield sender, journal
    sender.close()


def post(status: int = 202, actions: int = 1, *, bad_items: tuple[int, ...] = (), authorized: bool = False) -> Post:
    return Post("petitions", "/v1/signatures", JSON, b"{}", status, actions, bad_items, authorized)


async def test_one_connection_serves_many_requests() -> None:
    async with serving(ACCEPTED, ACCEPTED, ACCEPTED) as server:
        client = Client()
        for _ in range(3):
            assert await client.request("POST", f"{server.origin}/v1/x", body=b"{}") == (202, b"{}")
        client.close()
    assert server.connections == 1


async def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    closing = ACCEPTED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    async with serving(closing, ACCEPTED) as server:
        client = Client()
        assert (await client.request("GET", f"{server.origin}/")).status == 202
        assert (await client.request("GET", f"{server.origin}/")).status == 202
        client.close()
    assert server.connections == 2


async def test_a_chunked_answer_is_read_whole() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with serving(chunked) as server:
        client = Client()
        assert await client.request("GET", f"{server.origin}/") == (200, b"abcde")
        client.close()


async def test_an_answer_cut_short_is_an_error() -> None:
    cut = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc"
    async with serving(cut) as server:
        client = Client()
        with pytest.raises(ConnectionResetError):
            await client.request("GET", f"{server.origin}/")


async def test_a_post_is_repeated_until_it_is_acknowledged_and_each_repeat_is_counted() -> None:
    async with serving(AWAY, HANG_UP, ACCEPTED) as server, sending(server) as (sender, journal):
        await sender.send_all(iter([post()]), concurrency=4)
    assert len(server.requests) == 3
    assert (journal.acknowledged, journal.repeated) == (1, 2)


async def test_an_answer_that_must_not_be_ends_the_demo() -> None:
    refused = b"HTTP/1.1 422 Unprocessable Content\r\ncontent-length: 0\r\n\r\n"
    async with serving(refused) as server, sending(server) as (sender, _):
        with pytest.raises(ExceptionGroup) as failures:
            await sender.send_all(iter([post()]), concurrency=1)
    assert failures.group_contains(DemoError, match="422, not 202")


async def test_refusals_are_counted_by_status() -> None:
    refused = b"HTTP/1.1 422 Unprocessable Content\r\ncontent-length: 0\r\n\r\n"
    async with serving(refused, refused) as server, sending(server) as (sender, journal):
        await sender.send_all(iter([post(422, actions=0)] * 2), concurrency=2)
    assert journal.refused == {422: 2}
    assert journal.acknowledged == 0


async def test_a_batch_must_be_taken_but_for_its_bad_items() -> None:
    body = b'{"accepted":2,"rejected":[{"index":1,"errors":[]}]}'
    response = b"HTTP/1.1 202 Accepted\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    async with serving(response, response) as server, sending(server) as (sender, journal):
        await sender.send_all(iter([post(actions=2, bad_items=(1,), authorized=True)]), concurrency=1)
        assert (journal.acknowledged, journal.refused_items) == (2, 1)
        assert b"authorization: Bearer a-key" in server.requests[0]
        with pytest.raises(ExceptionGroup):
            await sender.send_all(iter([post(actions=3, authorized=True)]), concurrency=1)
