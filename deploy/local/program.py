"""The programs that the supervisor starts."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from deploy.local.account import Account
from deploy.local.home import PROJECT

PR_SET_PDEATHSIG: Final = 1
LOG_BYTES: Final = 16 * 1024 * 1024
"""A log above this size is rotated at the next start."""
ROOM_BYTES: Final = 256 * 1024 * 1024
"""A broker that starts on a full disk cannot write its indexes, takes its logs for corrupt and deletes them."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program to keep running.

    `ready` tells whether it answers, and is polled for `ready_seconds` seconds. `stop_signal` asks it to end; after
    `grace_seconds` seconds it is killed. `account` is the account it runs under (None: ours). It is not started before
    the disk of the folder `needs_room` has room.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[bool]]
    ready_seconds: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 15.0
    account: Account | None = None
    needs_room: Path | None = None

    def has_room(self) -> bool:
        """Whether the disk of `needs_room` has enough room for a start."""
        return self.needs_room is None or shutil.disk_usage(self.needs_room).free >= ROOM_BYTES


async def spawn(program: Program) -> asyncio.subprocess.Process:
    """Start `program` in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Its output goes to its log. If the system supports it, the program ends when the supervisor is killed.
    """
    account = program.account
    parent = os.getpid()
    stop_signal = int(program.stop_signal)

    def follow_parent() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), stop_signal)

    with _open_log(program.log) as log:
        return await asyncio.create_subprocess_exec(
            *program.argv,
            env=dict(program.environment),
            cwd="/" if program.account else PROJECT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=follow_parent,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
