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
from deploy.local.endpoints import Endpoints
from shared.clock import SystemClock, rfc3339
from shared.errors import MilleplumesError
from shared.topics import SIGNATURES
from tests.bench.processes import cpu_seconds
from tests.bench.wrk import Wrk

DAY: Final = 24 * 60 * 60
DRAIN_SECONDS: Final = 300.0
QUIET_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.005
BOARD_SECONDS: Final = 30.0

_NEXT = "SELECT coalesce(sum(next), 0)::bigint FROM positions WHERE topic = $1"
_ROWS = """
SELECT count(*) FROM signatures JOIN dimensions ON dimensions.id = signatures.dimensions WHERE campaign = $1
"""
_LEDGER = "SELECT coalesce(sum(count), 0)::bigint FROM cells WHERE campaign = $1"


class StandError(MilleplumesError):
    """The stand is not as a measurement needs it."""


@dataclass(frozen=True, slots=True)
class Tallied:
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
    ) -> None:
        self.at = at
        self.wrk = wrk
        self.campaign = f"bench-{time.time_ns() // 1_000_000:x}"
        self.petition = f"{self.campaign}-petition"
        self.began = rfc3339(SystemClock().now())
        self.api_key = ""
        self._tags = 0
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
            file.write_text(_campaign_file(self.campaign, self.petition))
            await mille.output("campaigns", "import", str(file))
        printed = await mille.output("keys", "create", "--campaign", self.campaign, "--scope", "signatures:batch")
        self.api_key = printed.split()[-1]

    def pids(self, service: str, role: str) -> list[int]:
        """The process ids of a role."""
        return [p["pid"] for p in self.at["processes"] if (p["service"], p["role"]) == (service, role)]

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far, by part of the system."""
        used = {name: cpu_seconds(pid) for name, pid in self.at["platform"].items()}
        for process in self.at["processes"]:
            name = f"{process['service']}-{process['role']}"
            used[name] = used.get(name, 0.0) + cpu_seconds(process["pid"])
        return used

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
        return int(await self._petitions.fetchval(_NEXT, SIGNATURES.name))

    async def drained(self) -> float:
        """Wait until every record is counted and no more come; seconds from now until the last was.

        Requests that were under way when the load stopped still come in after it, so what counts is what stays.

        Raises:
            StandError: not within five minutes.
        """
        began = time.monotonic()
        reached: float | None = None
        end = -1
        while reached is None or time.monotonic() - reached < QUIET_SECONDS:
            appended = await self.appended()
            if await self.counted() < appended:
                reached = None
            elif reached is None or appended != end:
                reached, end = time.monotonic(), appended
            if time.monotonic() - began > DRAIN_SECONDS:
                raise StandError(f"{appended - await self.counted():,} records were never counted")
            await asyncio.sleep(POLL_SECONDS)
        return reached - began

    async def follow_board(self, seen: list[tuple[float, int]]) -> None:
        """Note in `seen` when the public total became what, until cancelled."""
        while True:
            shown = await self._board()
            if not seen or seen[-1][1] != shown:
                seen.append((time.monotonic(), shown))
            await asyncio.sleep(POLL_SECONDS * 4)

    async def tallied(self) -> Tallied:
        """What table, ledger and board say, once the board shows the table's number or has had time to."""
        rows = int(await self._petitions.fetchval(_ROWS, self.campaign))
        board = await self.board_shows(rows)
        return Tallied(rows, int(await self._marathon.fetchval(_LEDGER, self.campaign)), board)

    async def board_shows(self, total: int) -> int:
        """Wait until the public total is `total`, at most half a minute; the total shown last."""
        deadline = time.monotonic() + BOARD_SECONDS
        while True:
            shown = await self._board()
            if shown == total or time.monotonic() > deadline:
                return shown
            await asyncio.sleep(POLL_SECONDS * 4)

    async def _board(self) -> int:
        answer = await self.http.get(f"{self.at['marathon']}/v1/campaigns/{self.campaign}/totals")
        document: dict[str, Any] = answer.json()
        return int(document["total"])


@asynccontextmanager
async def stand(at: Endpoints, home: Path, wrk: Wrk) -> AsyncIterator[Stand]:
    """A stand with a campaign of its own."""
    consumer = AIOKafkaConsumer(SIGNATURES.name, bootstrap_servers=at["kafka"], enable_auto_commit=False)
    await consumer.start()
    consumer.pause(*consumer.assignment())
    petitions = await asyncpg.connect(at["databases"]["petitions"], timeout=10)
    marathon = await asyncpg.connect(at["databases"]["marathon"], timeout=10)
    made = Stand(at, wrk, petitions, marathon, consumer)
    try:
        await made.import_campaign(home)
        yield made
    finally:
        await made.http.aclose()
        await petitions.close(timeout=10)
        await marathon.close(timeout=10)
        await consumer.stop()


def _campaign_file(campaign: str, petition: str) -> str:
    now = SystemClock().now()
    document = {
        "campaign": {
            "slug": campaign,
            "title": {"en": "Benchmark"},
            "opens": rfc3339(now - DAY),
            "closes": rfc3339(now + DAY),
            "goal": 10_000_000,
            "languages": ["en", "fr"],
            "policies": {"confirmation": "none", "public_threshold": 1},
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
