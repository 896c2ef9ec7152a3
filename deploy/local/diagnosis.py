"""The checks of `mille doctor`: the installed environment, and the platform if one is up."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local import endpoints, jars, kafka, keys, ports, postgres, processes, topics
from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from deploy.local.home import PRIVATE_FILE_MODE, PROJECT
from deploy.local.settings import DEFAULT_PORTS, LocalSettings
from services.notifications.sender.compose.signing import Signer
from services.notifications.settings import EXAMPLE_SENDER
from shared import migrations
from shared.errors import MilleplumesError, SetupError
from shared.privacy.keys import PrivateKeyOpener

MIN_PYTHON: Final = (3, 11)
MIN_OPEN_FILES: Final = 4096
MIN_DISK_BYTES: Final = 5 * 1024**3
LOCK: Final = PROJECT / "deploy" / "requirements" / "development.txt"
SERVICES_LOCK: Final = LOCK.with_name("services.txt")
"""The packages of the image, where only the services and commands run."""
RUN_SETUP: Final = "run `make setup`"
HALT_MESSAGES: Final = ("halted: ", "the log starts", "the log ends", "the record at", "records are missing")
"""Phrases by which a halted partition or source explains itself."""
HALT_REMEDY: Final = (
    "two truths disagree: docs/runbooks/halted-partition.md; `mille recover log` and `mille recover ledger` look"
)
START: Final = "start it with `mille run`"
RESTART: Final = "stop the platform and start it again with `mille run`"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `remedy` says what to do and is empty if all is well."""

    part: str
    description: str
    remedy: str = ""


async def examine(settings: LocalSettings) -> list[Finding]:
    """Check every part, and those of a running platform if one is up."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        partial(_packages, LOCK if settings.own_kafka or settings.own_postgres else SERVICES_LOCK),
        *((_jars,) if settings.own_kafka else ()),
        *((_wheels,) if settings.own_postgres else ()),
        _open_files,
    )
    findings = [*(check() for check in checks), _disk(settings), *_signing()]
    try:
        at = endpoints.read(settings.home)
    except SetupError:
        if settings.home.in_use():
            return [*findings, Finding("platform", "starting or stopping", "ask again in a moment")]
        return [*findings, _ports(settings), Finding("platform", "not running", START)]
    groups = await asyncio.gather(
        _broker(settings, at["kafka"]), _databases(at), _campaign_keys(settings, at), _services(at)
    )
    running = (finding for group in groups for finding in group)
    stored_keys = (_key(settings.home.keys / name) for name in keys.NAMES)
    return [*findings, *stored_keys, *running, await _mailbox(at)]


def _python() -> Finding:
    remedy = "" if sys.version_info >= MIN_PYTHON else "install Python 3.11 or newer and run `make clean setup`"
    return Finding("Python", f"{platform.python_version()} in {sys.prefix}", remedy)


def _packages(lock: Path) -> Finding:
    """Check the installed packages against `lock`; one with a condition (`;`) may be missing on this system."""
    locked = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)( ;)?", lock.read_text(), re.MULTILINE)
    if mismatched := [
        name
        for name, version, condition in locked
        if (installed := _installed(name)) != version and not (condition and installed is None)
    ]:
        return Finding("packages", f"{len(mismatched)} are not as locked: {', '.join(mismatched[:5])}", RUN_SETUP)
    return Finding("packages", f"{len(locked)} as locked")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _jars() -> Finding:
    try:
        jars.class_path()
    except SetupError as error:
        return Finding("Kafka's jars", str(error), RUN_SETUP)
    return Finding("Kafka's jars", f"{len(jars.locked())} with the locked checksums")


def _wheels() -> Finding:
    try:
        programs = postgres.wheel_programs()
    except SetupError as error:
        return Finding("PostgreSQL's programs", str(error), RUN_SETUP)
    remedy = "" if (programs / "postgres").is_file() else RUN_SETUP
    return Finding("PostgreSQL's programs", str(programs), remedy)


def _open_files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    remedy = "" if hard >= MIN_OPEN_FILES else f"raise the limit to {MIN_OPEN_FILES}, for example with `ulimit -Hn`"
    return Finding("open files", f"at most {hard}", remedy)


def _disk(settings: LocalSettings) -> Finding:
    folder = next(folder for folder in (settings.home.root, *settings.home.root.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    remedy = "" if free >= MIN_DISK_BYTES else f"make room: a run may need {MIN_DISK_BYTES / 1024**3:.0f} GiB"
    return Finding("disk", f"{free / 1024**3:.1f} GiB free in {folder}", remedy)


def _ports(settings: LocalSettings) -> Finding:
    try:
        ports.check_free((name, getattr(settings, name)) for name in DEFAULT_PORTS)
    except SetupError as error:
        description, _, remedy = str(error).partition(". ")
        return Finding("ports", description, remedy)
    return Finding("ports", "all free")


def _key(path: Path) -> Finding:
    part = f"key {path.name}"
    if not path.exists():
        return Finding(part, "missing", RESTART)
    mode = stat.S_IMODE(path.stat().st_mode)
    remedy = "" if mode == PRIVATE_FILE_MODE else f"chmod 600 {path}"
    return Finding(part, f"there, mode {mode:o}", remedy)


async def _broker(settings: LocalSettings, servers: str) -> list[Finding]:
    part = "Kafka"
    if not await kafka.answers(servers):
        return [Finding(part, f"does not answer at {servers}", RESTART)]
    try:
        differences = await topics.compare(servers, flush=settings.flush, production=settings.production)
    except MilleplumesError as error:
        return [Finding(part, str(error), RESTART)]
    answers = Finding(part, f"answers at {servers}")
    if differences:
        return [answers, Finding("topics", "; ".join(map(str, differences)), "run `mille topics --create`")]
    return [answers, Finding("topics", "as declared")]


async def _databases(at: Endpoints) -> list[Finding]:
    return [await _database(service, url) for service, url in at["databases"].items()]


async def _database(service: str, url: str) -> Finding:
    part = f"database {service}"
    try:
        async with connect(url, timeout_s=postgres.CONNECT_SECONDS) as connection:
            await migrations.check(connection, service)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return Finding(part, "does not let us in: its password is not the one in endpoints.json", RESTART)
    except (OSError, asyncpg.PostgresError) as error:
        return Finding(part, f"does not answer ({type(error).__name__})", RESTART)
    except SetupError as error:
        return Finding(part, str(error), RESTART)
    return Finding(part, f"answers, schema {migrations.head(service)}")


_WRAPPED: Final = "SELECT DISTINCT ON (campaign) campaign, wrapped FROM campaign_keys ORDER BY campaign, purpose"


async def _campaign_keys(settings: LocalSettings, at: Endpoints) -> list[Finding]:
    """Check that one key of each campaign was wrapped for the present wrapping key."""
    part = "campaign keys"
    try:
        opener = PrivateKeyOpener(settings.home.keys / keys.WRAPPING_PRIVATE)
        async with connect(at["databases"]["marathon"], timeout_s=postgres.CONNECT_SECONDS) as connection:
            wrapped = dict(map(tuple, await connection.fetch(_WRAPPED)))
    except (OSError, ValueError, MilleplumesError, asyncpg.PostgresError):
        return []  # the check of the key's file or of the database reports it
    count = len(wrapped)
    if foreign := [campaign for campaign, key in wrapped.items() if not _opens(opener, key)]:
        description = f"{len(foreign)} of {count} campaigns cannot be opened with wrapping.key, among them {foreign[0]}"
        return [Finding(part, description, "put back the keys that belong to these databases: docs/runbooks/keys.md")]
    return [Finding(part, f"those of {count} campaigns open with wrapping.key")]


def _opens(opener: PrivateKeyOpener, wrapped: bytes) -> bool:
    try:
        opener.open(wrapped)
    except ValueError:
        return False
    return True


async def _services(at: Endpoints) -> list[Finding]:
    return [
        await _service(f"{process['service']} {process['role']}", endpoints.probe_port(process), at["logs"])
        for process in at["processes"]
    ]


async def _service(part: str, port: int, logs: str) -> Finding:
    status, body = await processes.probe(port)
    if not status:
        return Finding(part, "does not answer", f"read its log in {logs}")
    return _service_finding(part, body, logs, ready=status == processes.READY)


def _service_finding(part: str, body: bytes, logs: str, *, ready: bool) -> Finding:
    """Return the finding for `part` from the `body` of its readiness probe."""
    reasons = _readiness_reasons(body, "degraded" if ready else "missing")
    if ready and not reasons:
        return Finding(part, "ready")
    remedy = HALT_REMEDY if any(phrase in reasons for phrase in HALT_MESSAGES) else f"read its log in {logs}"
    return Finding(part, f"{'ready, but' if ready else 'not ready:'} {reasons}", remedy)


def _readiness_reasons(body: bytes, member: str) -> str:
    """Join the entries that a readiness probe lists as `member`."""
    try:
        return "; ".join(f"{what}: {why}" for what, why in json.loads(body)[member].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "it does not say why"


class MailSettings(BaseSettings):
    """The settings of notifications that decide how mails are signed."""

    model_config = SettingsConfigDict(extra="ignore")

    mail_from: str = EXAMPLE_SENDER
    dkim_key_file: Path | None = None
    dkim_selector: str = "mille"
    dkim_domain: str | None = None


def _signing() -> list[Finding]:
    """Return the DNS record for the key that signs mails, if one is set."""
    mail = MailSettings()
    if mail.dkim_key_file is None:
        return []
    domain = mail.dkim_domain or mail.mail_from.rpartition("@")[2]
    try:
        signer = Signer.load(mail.dkim_key_file, mail.dkim_selector, domain)
    except SetupError as error:
        return [Finding("DKIM", str(error), "let DKIM_KEY_FILE name a readable RSA key in PEM")]
    return [Finding("DKIM", f'DNS has to show for {signer.dns_name}: TXT "{signer.dns_record}"')]


async def _mailbox(at: Endpoints) -> Finding:
    folder = at["mailbox"]
    if not await kafka.listens(at["smtp"]):
        return Finding("mail", f"nothing listens at {at['smtp']}", RESTART)
    if folder is None:
        return Finding("mail", f"leaves by {at['smtp']}")
    if not os.access(folder, os.W_OK):
        return Finding("mail", f"{folder} cannot be written", RESTART)
    return Finding("mail", f"{_messages(folder)} messages in {folder}")


def _messages(folder: str) -> int:
    return sum(1 for _ in Path(folder).glob("*.eml"))
