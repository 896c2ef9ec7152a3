"""The process of notifications: started as the platform starts it, killed, started again."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT
from services.notifications.sender.deliver.sending import LEASE
from shared.privacy.sealing import Person
from tests.support.databases import change_schema
from tests.support.mailing import NotificationsHarness, notifications_harness, wait_until
from tests.support.post_office import run_smtp_server

MAILS = 300
DAY_S = 86_400


@pytest.fixture
async def harness(
    platform: Endpoints,
    make_database: Callable[[str], Awaitable[str]],
    make_topic: Callable[..., Awaitable[str]],
    tmp_path: Path,
) -> AsyncIterator[NotificationsHarness]:
    url = await make_database("notifications")
    async with (
        run_smtp_server() as smtp_server,
        notifications_harness(platform["kafka"], url, make_topic, smtp_server, tmp_path, for_processes=True) as harness,
    ):
        yield harness


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def run_process(
    harness: NotificationsHarness, role: str, *, sabotage: str = "", **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run a process of notifications and return it with its address; kill it at the end if it still runs.

    `sabotage` is what `tests.faults.sabotage` changes in it.
    """
    port = free_port()
    settings = harness.settings
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *(("tests.faults.sabotage", sabotage) if sabotage else ()),
        "services.notifications",
        "--role",
        role,
        cwd=PROJECT,
        env={
            **os.environ,
            "ENVIRONMENT": "development",
            "DATABASE_URL": settings.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "WRAPPING_PRIVATE_KEY_FILE": str(settings.wrapping_private_key_file),
            "RECIPIENT_KEY_FILE": str(settings.recipient_key_file),
            "SMTP_PORT": str(settings.smtp_port),
            "PORT": str(port),
            **environment,
        },
    )
    try:
        yield running, f"http://127.0.0.1:{port}"
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def create_mails(harness: NotificationsHarness) -> None:
    """Create deliveries to plan and to send."""
    slug = await harness.upstream.campaign(f"killed-{secrets.token_hex(6)}")
    async with harness.running(harness.create_loop().run):
        for number in range(MAILS):
            await harness.upstream.sign(slug, Person(given_name="A", family_name="B", email=f"p{number}@example.org"))
        await harness.wait_until_consumed()


async def are_sent(harness: NotificationsHarness, count: int) -> bool:
    return bool(await harness.pool.fetchval("SELECT count(*) = $1 FROM mails WHERE state = 'sent'", count))


async def is_closed(address: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            await client.get(f"{address}/livez")
    except httpx.TransportError:
        return True
    return False


async def is_ready(address: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{address}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_sender_killed_in_the_midst_loses_no_mail(harness: NotificationsHarness) -> None:
    await create_mails(harness)
    harness.smtp_server.stall_after = MAILS // 3
    async with run_process(harness, "sender") as (sender, _):
        await wait_until(lambda: len(harness.smtp_server.mails) == MAILS // 3)
        sender.send_signal(signal.SIGKILL)
        await sender.wait()
    harness.smtp_server.release.set()
    await harness.pool.execute("UPDATE mails SET due_at = due_at - $1::interval", LEASE)
    async with run_process(harness, "sender") as (sender, address):
        await wait_until(lambda: len({mail.to for mail in harness.smtp_server.mails}) == MAILS)
        await wait_until(lambda: is_ready(address))
        sender.terminate()
        assert await asyncio.wait_for(sender.wait(), 20) == 0
    assert len({mail.id for mail in harness.smtp_server.mails}) == MAILS
    assert await harness.pool.fetchval("SELECT count(*) FROM mails WHERE state = 'sent'") == MAILS


@pytest.mark.parametrize("offset", [DAY_S, -DAY_S])
async def test_a_sender_whose_clock_is_a_day_off_sends_nothing_that_another_has_in_hand(
    harness: NotificationsHarness, offset: int
) -> None:
    await create_mails(harness)
    harness.smtp_server.stall_after = MAILS // 3

    async def all_in_hand() -> bool:
        taken = "SELECT count(*) FROM mails WHERE due_at IS NULL OR due_at > clock_timestamp()"
        return int(await harness.pool.fetchval(taken)) == MAILS

    wrong = run_process(harness, "sender", sabotage="wrong-clock", CLOCK_OFFSET_SECONDS=str(offset))
    async with run_process(harness, "sender"), wrong:
        await wait_until(all_in_hand)
        harness.smtp_server.release.set()
        await wait_until(lambda: len({mail.id for mail in harness.smtp_server.mails}) == MAILS)
        await wait_until(lambda: are_sent(harness, MAILS))
    assert len(harness.smtp_server.mails) == MAILS
    assert await harness.pool.fetchval("SELECT max(attempts) FROM mails") == 1


async def test_a_sender_told_to_stop_finishes_and_records_what_is_under_way(harness: NotificationsHarness) -> None:
    await create_mails(harness)
    harness.smtp_server.stall_after = MAILS // 3
    async with run_process(harness, "sender") as (sender, address):
        await wait_until(lambda: len(harness.smtp_server.mails) == MAILS // 3)
        sender.terminate()
        await wait_until(lambda: is_closed(address))
        harness.smtp_server.release.set()
        assert await asyncio.wait_for(sender.wait(), 20) == 0
    recorded = await harness.pool.fetchval("SELECT count(*) FROM mails WHERE state = 'sent'")
    assert MAILS // 3 < recorded == len(harness.smtp_server.mails)


@pytest.mark.parametrize(("role", "status"), [("web", 200), ("consumer", 404), ("all", 200)])
async def test_each_role_becomes_ready_and_answers_people_where_it_should(
    harness: NotificationsHarness, role: str, status: int
) -> None:
    page = f"/preferences/{harness.recipient_keys.token(bytes(16))}"
    async with run_process(harness, role) as (running, address), httpx.AsyncClient(base_url=address) as client:
        await wait_until(lambda: is_ready(address))
        assert (await client.get(page)).status_code == status
        assert (await client.get("/mailbox")).status_code == 404
        assert "milleplumes_notifications_mails_pending" in (await client.get("/metrics")).text
        running.terminate()
        assert await asyncio.wait_for(running.wait(), 20) == 0


async def test_a_process_refuses_a_schema_that_it_does_not_know(
    platform: Endpoints, harness: NotificationsHarness
) -> None:
    await change_schema(platform, harness.settings.database_url, "UPDATE schema_version SET version_num = 'another'")
    async with run_process(harness, "all") as (running, _):
        assert await asyncio.wait_for(running.wait(), 30) != 0


async def test_in_development_the_caught_mails_are_shown(harness: NotificationsHarness, tmp_path: Path) -> None:
    (tmp_path / "1-2-3.eml").write_bytes(
        b"X-RcptTo: ana@example.org\r\nTo: ana@example.org\r\nSubject: Hello & <you>\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nSee https://ngo.example/confirm/x\r\n"
    )
    async with (
        run_process(harness, "web", MAILBOX_FOLDER=str(tmp_path)) as (_, address),
        httpx.AsyncClient(base_url=address) as client,
    ):
        await wait_until(lambda: is_ready(address))
        assert "Hello &amp; &lt;you&gt;" in (await client.get("/mailbox")).text
        shown = (await client.get("/mailbox/1-2-3")).text
        assert '<a href="https://ngo.example/confirm/x">' in shown
        rendered = await client.get("/mailbox/1-2-3/html")
        assert "sandbox" in rendered.headers["content-security-policy"]
        for name in ("unknown", "..%2Frecipient", "recipient.key"):
            assert (await client.get(f"/mailbox/{name}")).status_code == 404
