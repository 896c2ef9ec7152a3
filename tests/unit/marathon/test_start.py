"""How marathon starts while Kafka and PostgreSQL are away: it answers 503 with `Retry-After` and waits for them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from services.marathon.app import Role, create
from services.marathon.settings import MarathonSettings

UNREACHABLE = "127.0.0.1:1"
"""Nothing listens there."""


@pytest.fixture
def settings(tmp_path: Path) -> MarathonSettings:
    key = tmp_path / "ledger.key"
    key.write_text("ab" * 32)
    return MarathonSettings(
        database_url=f"postgresql://nobody@{UNREACHABLE}/none",
        kafka_bootstrap_servers=UNREACHABLE,
        port=1,
        kafka_flush="on",
        ledger_key_file=key,
    )


@pytest.mark.parametrize("role", ["all", "web"])
async def test_people_are_asked_for_patience_while_nothing_is_known_yet(settings: MarathonSettings, role: Role) -> None:
    app = create(settings, role)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://marathon") as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert {"start", "catalog"} <= ready.json()["missing"].keys()
        for path in ("/", "/v1/campaigns"):
            answer = await client.get(path, headers={"Accept": "text/html"})
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True), path
