"""The process itself: started as the platform starts it, killed, started again."""

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
from services.notifications.sender.sending import LEASE
from shared.privacy.sealing import Person
from tests.support.mailing import Mailing, mailing, until
from tests.support.post_office import post_office

MAILS = 300
DAY_S = 86_400


@pytest.fixture
async def mail(
    platform: Endpoints,
    make_database: Callable[[str], Awaitable[str]],
    make_topic: Callable[..., Awaitable[str]],
    tmp_path: Path,
) -> AsyncIterator[Mailing]:
    url = await make_database("notifications")
    async with (
        post_office() as office,
        mailing(platform["kafka"], url, make_topic, office, tmp_path, for_processes=True) as made,
    ):
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def process(
    mail: Mailing, role: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A process of notifications and its address; killed at the end if it is still there."""
    port = free_port()
    settings = mail.settings
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
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


async def fill(mail: Mailing) -> None:
    """Have mails to plan and to send."""
    slug = await mail.stage.campaign(f"killed-{secrets.token_hex(6)}")
    async with mail.running(mail.loop().run):
        for number in range(MAILS):
            await mail.stage.sign(slug, Person(given_name="A", family_name="B", email=f"p{number}@example.org"))
        await mail.consumed()


async def sent(mail: Mailing, count: int) -> bool:
    return bool(await mail.pool.fetchval("SELECT count(*) = $1 FROM mails WHERE state = 'sent'", count))


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


async def test_a_sender_killed_in_the_midst_loses_no_mail(mail: Mailing) -> None:
    await fill(mail)
    mail.office.hold_after = MAILS // 3
    async with process(mail, "sender") as (sender, _):
        await until(lambda: len(mail.office.letters) == MAILS // 3)
        sender.send_signal(signal.SIGKILL)
        await sender.wait()
    mail.office.let_go.set()
    await mail.pool.execute("UPDATE mails SET due_at = due_at - $1::interval", LEASE)
    async with process(mail, "sender") as (sender, address):
        await until(lambda: len({letter.to for letter in mail.office.letters}) == MAILS)
        await until(lambda: is_ready(address))
        sender.terminate()
        assert await asyncio.wait_for(sender.wait(), 20) == 0
    assert len({letter.id for letter in mail.office.letters}) == MAILS
    assert await mail.pool.fetchval("SELECT count(*) FROM mails WHERE state = 'sent'") == MAILS


@pytest.mark.parametrize("offset", [DAY_S, -DAY_S])
async def test_a_sender_whose_clock_is_a_day_off_sends_nothing_that_another_has_in_hand(
    mail: Mailing, offset: int
) -> None:
    await fill(mail)
    mail.office.hold_after = MAILS // 3

    async def all_in_hand() -> bool:
        return bool(await mail.pool.fetchval("SELECT count(*) = $1 FROM mails WHERE attempts > 0", MAILS))

    async with process(mail, "sender"), process(mail, "sender", CLOCK_OFFSET_SECONDS=str(offset)):
        await until(all_in_hand)
        mail.office.let_go.set()
        await until(lambda: len({letter.id for letter in mail.office.letters}) == MAILS)
        await until(lambda: sent(mail, MAILS))
    assert len(mail.office.letters) == MAILS
    assert await mail.pool.fetchval("SELECT max(attempts) FROM mails") == 1


async def test_a_sender_told_to_stop_finishes_and_records_what_is_under_way(mail: Mailing) -> None:
    await fill(mail)
    mail.office.hold_after = MAILS // 3
    async with process(mail, "sender") as (sender, address):
        await until(lambda: len(mail.office.letters) == MAILS // 3)
        sender.terminate()
        await until(lambda: is_closed(address))
        mail.office.let_go.set()
        assert await asyncio.wait_for(sender.wait(), 20) == 0
    recorded = await mail.pool.fetchval("SELECT count(*) FROM mails WHERE state = 'sent'")
    assert MAILS // 3 < recorded == len(mail.office.letters)


@pytest.mark.parametrize(("role", "status"), [("web", 200), ("consumer", 404), ("all", 200)])
async def test_each_role_becomes_ready_and_answers_people_where_it_should(
    mail: Mailing, role: str, status: int
) -> None:
    page = f"/preferences/{mail.names.token(bytes(16))}"
    async with process(mail, role) as (running, address), httpx.AsyncClient(base_url=address) as client:
        await until(lambda: is_ready(address))
        assert (await client.get(page)).status_code == status
        assert (await client.get("/mailbox")).status_code == 404
        assert "notifications_mails_pending" in (await client.get("/metrics")).text
        running.terminate()
        assert await asyncio.wait_for(running.wait(), 20) == 0


async def test_a_process_refuses_a_schema_that_it_does_not_know(mail: Mailing) -> None:
    await mail.pool.execute("UPDATE schema_version SET version_num = 'another'")
    async with process(mail, "all") as (running, _):
        assert await asyncio.wait_for(running.wait(), 30) != 0


async def test_in_development_the_caught_mails_are_shown(mail: Mailing, tmp_path: Path) -> None:
    (tmp_path / "1-2-3.eml").write_bytes(
        b"X-RcptTo: ana@example.org\r\nTo: ana@example.org\r\nSubject: Hello & <you>\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nSee https://ngo.example/confirm/x\r\n"
    )
    async with (
        process(mail, "web", MAILBOX_FOLDER=str(tmp_path)) as (_, address),
        httpx.AsyncClient(base_url=address) as client,
    ):
        await until(lambda: is_ready(address))
        assert "Hello &amp; &lt;you&gt;" in (await client.get("/mailbox")).text
        shown = (await client.get("/mailbox/1-2-3")).text
        assert '<a href="https://ngo.example/confirm/x">' in shown
        rendered = await client.get("/mailbox/1-2-3/html")
        assert "sandbox" in rendered.headers["content-security-policy"]
        for name in ("unknown", "..%2Frecipient", "recipient.key"):
            assert (await client.get(f"/mailbox/{name}")).status_code == 404
