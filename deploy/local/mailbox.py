"""The local mailbox: an SMTP server that stores each message as one `.eml` file and forwards nothing.

`python -m deploy.local.mailbox --port PORT --folder FOLDER [--host HOST]`
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
from pathlib import Path
from typing import Final

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.cancellation import stop_on_signals
from deploy.local.ports import HOST
from shared.clock import SystemClock

MAX_MESSAGE_BYTES: Final = 10 * 1024 * 1024
BACKLOG: Final = 500


class Mailbox:
    """Stores messages under unique names that sort by arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._clock = SystemClock()

    async def handle_DATA(  # noqa: N802  aiosmtpd finds it by this name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Store one message atomically, with its envelope's addresses in front. Called by aiosmtpd."""
        content = envelope.content
        if not isinstance(content, bytes):
            return "554 5.6.0 no message"
        milliseconds = int(self._clock.now() * 1000)
        name = f"{milliseconds:013d}-{os.getpid()}-{next(self._numbers):06d}"
        recipients = ", ".join(envelope.rcpt_tos)
        draft = self._folder / f".{name}"
        draft.write_bytes(f"X-RcptTo: {recipients}\r\n".encode() + content)
        draft.rename(self._folder / f"{name}.eml")
        return "250 2.0.0 stored"


async def serve(host: str, port: int, folder: Path) -> None:
    """Receive messages on `port` of the address `host` until a signal."""
    loop = asyncio.get_running_loop()
    stop = stop_on_signals(on_repeat=lambda: None)
    mailbox = Mailbox(folder)
    server = await loop.create_server(
        lambda: SMTP(
            mailbox, hostname="mailbox.local", data_size_limit=MAX_MESSAGE_BYTES, enable_SMTPUTF8=True, loop=loop
        ),
        host,
        port,
        backlog=BACKLOG,
    )
    await stop.wait()
    server.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description="A local mailbox that keeps messages as files")
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    uvloop.run(serve(arguments.host, arguments.port, arguments.folder))


if __name__ == "__main__":
    main()
