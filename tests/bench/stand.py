"""The test stand: our own system up without mail, one campaign, and what can be read of it from the outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import asyncpg
import httpx
import yaml
from aiokafka import AIOKafkaConsumer

from deploy.demo.commands import Mille
from deploy.local.endpoints import Endpoints, RunningProcess
from services.petitions.consumers.counted import SIGNATURES
from shared.clock import SystemClock, rfc3339
from shared.errors import MilleplumesError
from shared.events.values import Confirmation
from tests.bench.costs import CostSample
from tests.bench.processes import cpu_seconds, resident_mb
from tests.bench.wrk import Wrk

DAY: Final = 24 * 60 * 60
DRAIN_SECONDS: Final = 300.0
QUIET_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.01
QUIETLY_SECONDS: Final = 0.1
"""Each look costs broker, server and bench some of the CPU that is measured: it is taken seldom."""
BOARD_SECONDS: Final = 30.0
BOARD_POLL_SECONDS: Final = 0.05

_NEXT = "SELECT partition, next FROM positions WHERE consumer_group = $1 AND topic = $2"
_STORED = "SELECT count(*) FROM signatures"
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
_ROWS = """
SELECT count(*) FROM signatures JOIN dimensions ON dimensions.id = signatures.dimensions WHERE campaign = $1
"""
_LEDGER = "SELECT coalesce(sum(count), 0)::bigint FROM cells WHERE campaign = $1"


class StandError(MilleplumesError):
    """The stand is not as a measurement needs it."""


@dataclass(frozen=True, slots=True)
class TallySnapshot:
    """How many actions of the campaign each of three places knows."""

    rows: int
    cells: int
    board: int

    @property
    def agree(self) -> bool:
        return self.rows == self.cells == self.board


class Stand:
    """One campaign on the platform at `at`, to be loaded by `wrk`."""

    def __init__(
        self,
        at: Endpoints,
        wrk: Wrk,
        petitions: asyncpg.Connection,
        marathon: asyncpg.Connection,
        consumer: AIOKafkaConsumer,
        *,
        confirmation: Confirmation,
    ) -> None:
        self.at = at
        self.wrk = wrk
        self.confirmation = confirmation
        self.campaign = f"bench-{time.time_ns() // 1_000_000:x}"
        self.petition = f"{self.campaign}-petition"
        self.began = rfc3339(SystemClock().now())
        self.api_key = ""
        self._tags = 0
        self.memory_at_rest = self.memory()
        self._petitions = petitions
        self._marathon = marathon
        self._consumer = consumer
        self.http = httpx.AsyncClient(timeout=10.0, trust_env=False)

    def new_tag(self) -> str:
        """A word that makes the people of one run new."""
        self._tags += 1
        return f"{self._tags:03d}"

    async def import_campaign(self, home: Path) -> None:
        """Import the campaign and create a partner's key."""
        mille = Mille(home)
        with TemporaryDirectory(prefix="mille-bench-") as folder:
            file = Path(folder) / "campaign.yaml"
            file.write_text(_campaign_file(self.campaign, self.petition, self.confirmation))
            await mille.output("campaigns", "import", str(file))
        printed = await mille.output("keys", "create", "--campaign", self.campaign, "--scope", "signatures:batch")
        self.api_key = printed.split()[-1]

    def pids(self, service: str, role: str) -> list[int]:
        """The process ids of a role."""
        return [p["pid"] for p in self.at["processes"] if (p["service"], p["role"]) == (service, role)]

    def costs(self) -> CostSample:
        """What each part of the system has cost so far."""
        used = {name: cpu_seconds(pid) for name, pid in self.at["platform"].items()}
        for process in self.at["processes"]:
            name = _short(process)
            used[name] = used.get(name, 0.0) + cpu_seconds(process["pid"])
        return CostSample(used)

    def memory(self) -> dict[str, float]:
        """Resident MiB of the largest process of each role now."""
        largest: dict[str, float] = {}
        for process in self.at["processes"]:
            name = _short(process)
            largest[name] = max(largest.get(name, 0.0), resident_mb(process["pid"]))
        return largest

    async def metrics(self, service: str, role: str) -> str:
        """The metrics of all processes of a role, one after the other."""
        places = [p["metrics"] for p in self.at["processes"] if (p["service"], p["role"]) == (service, role)]
        return "\n".join([(await self.http.get(place)).text for place in places])

    async def appended(self) -> int:
        """Records on the topic of signatures since it was made."""
        return sum((await self._consumer.end_offsets(self._consumer.assignment())).values())

    async def holds(self, records: int) -> bool:
        """Whether the topic has at least so many records."""
        return await self.appended() >= records

    async def counted(self) -> int:
        """Records of the topic that have become rows, or repeats of them."""
        return sum((await self.positions()).values())

    async def positions(self) -> dict[int, int]:
        """The next offset to be counted of each partition."""
        rows = await self._petitions.fetch(_NEXT, SIGNATURES.group, SIGNATURES.topic.name)
        return {row["partition"]: row["next"] for row in rows}

    async def stored(self) -> int:
        """All rows of signatures, of whatever campaign."""
        return int(await self._petitions.fetchval(_STORED))

    async def wal_bytes(self) -> int:
        """How much PostgreSQL has written to its log ahead of its tables, in all."""
        return int(await self._petitions.fetchval(_WAL))

    async def drain(self) -> float:
        """Wait until every record is counted and no more come; seconds from now until the last was.

        Requests that were under way when the load stopped still come in after it, so what counts is what stays. Only
        the positions are asked for while there is something left to count.

        Raises:
            StandError: not within five minutes.
        """
        began = time.monotonic()
        while True:
            appended = await self.appended()
            await self._until_counted(appended, began + DRAIN_SECONDS)
            reached = time.monotonic()
            while time.monotonic() - reached < QUIET_SECONDS:
                await asyncio.sleep(QUIETLY_SECONDS)
                if await self.appended() != appended:
                    break
            else:
                return reached - began

    async def _until_counted(self, appended: int, deadline: float) -> None:
        while (counted := await self.counted()) < appended:
            if time.monotonic() > deadline:
                raise StandError(f"{appended - counted:,} records were never counted")
            await asyncio.sleep(POLL_SECONDS)

    async def follow_board(self, seen: list[tuple[float, int]]) -> None:
        """Note in `seen` when the public total became what, until cancelled."""
        while True:
            shown = await self._board()
            if not seen or seen[-1][1] != shown:
                seen.append((time.monotonic(), shown))
            await asyncio.sleep(BOARD_POLL_SECONDS)

    async def tally_snapshot(self) -> TallySnapshot:
        """What table, ledger and board say, once the board shows the table's number or has had time to."""
        rows = await self.rows()
        board = await self.board_shows(rows)
        return TallySnapshot(rows, await self.ledger_total(), board)

    async def rows(self) -> int:
        """The campaign's rows."""
        return int(await self._petitions.fetchval(_ROWS, self.campaign))

    async def ledger_total(self) -> int:
        """The campaign's total as the ledger has it."""
        return int(await self._marathon.fetchval(_LEDGER, self.campaign))

    async def board_shows(self, total: int) -> int:
        """Wait until the public total is `total`, at most half a minute; the total shown last."""
        deadline = time.monotonic() + BOARD_SECONDS
        while True:
            shown = await self._board()
            if shown == total or time.monotonic() > deadline:
                return shown
            await asyncio.sleep(BOARD_POLL_SECONDS)

    async def _board(self) -> int:
        answer = await self.http.get(f"{self.at['marathon']}/v1/campaigns/{self.campaign}/totals")
        document: dict[str, Any] = answer.json()
        return int(document["total"])


@asynccontextmanager
async def stand(at: Endpoints, home: Path, wrk: Wrk, *, confirmation: Confirmation = "none") -> AsyncIterator[Stand]:
    """A stand with a campaign of its own, which asks for `confirmation`."""
    consumer = AIOKafkaConsumer(SIGNATURES.topic.name, bootstrap_servers=at["kafka"], enable_auto_commit=False)
    await consumer.start()
    consumer.pause(*consumer.assignment())
    petitions = await asyncpg.connect(at["databases"]["petitions"], timeout=10)
    marathon = await asyncpg.connect(at["databases"]["marathon"], timeout=10)
    made = Stand(at, wrk, petitions, marathon, consumer, confirmation=confirmation)
    try:
        await made.import_campaign(home)
        yield made
    finally:
        await made.http.aclose()
        await petitions.close(timeout=10)
        await marathon.close(timeout=10)
        await consumer.stop()


def _short(process: RunningProcess) -> str:
    """A part's short name: what belongs to signatures is named by its role alone."""
    service, role = process["service"], process["role"]
    if service == "petitions":
        return role
    return service if role == "all" else f"{service}-{role}"


def _campaign_file(campaign: str, petition: str, confirmation: Confirmation) -> str:
    now = SystemClock().now()
    document = {
        "campaign": {
            "slug": campaign,
            "title": {"en": "Benchmark"},
            "opens": rfc3339(now - DAY),
            "closes": rfc3339(now + DAY),
            "goal": 10_000_000,
            "languages": ["en", "fr"],
            "policies": {"confirmation": confirmation, "public_threshold": 1},
        },
        "cases": [
            {
                "slug": f"{campaign}-case",
                "name": "Benchmark",
                "country": "AQ",
                "status": "open",
                "story": {"en": "Invented."},
                "petition": {"slug": petition, "title": {"en": "Invented"}, "text": {"en": "Invented."}},
            }
        ],
    }
    text: str = yaml.safe_dump(document)
    return text
