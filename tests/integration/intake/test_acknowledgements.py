"""An acknowledgement from which no receipt can be made is none: the sender is told to try again."""

from __future__ import annotations

import time
from pathlib import Path

from deploy.local.endpoints import Endpoints
from shared import topics
from tests.support.forgetful import forgetful
from tests.support.intakes import ends, intake, plant_and_wait, records, signature
from tests.support.seeding import Seed, unique


async def test_an_acknowledgement_without_an_offset_is_answered_503_and_repeating_is_answered_202(
    platform: Endpoints, tmp_path: Path
) -> None:
    seed = Seed(unique("forgotten"), time.time())
    async with (
        forgetful(platform["kafka"], topics.SIGNATURES.name) as way,
        intake(platform, "petitions", tmp_path, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{way.port}") as running,
        running.client() as client,
    ):
        await plant_and_wait(running, seed)
        before = await ends(platform, topics.SIGNATURES.name)
        way.forgets = True
        refused = await client.post("/v1/signatures", json=signature(seed))
        assert (refused.status_code, way.forgotten) == (503, 1)
        assert int(refused.headers["retry-after"]) > 0
        assert "receipt" not in refused.text
        way.forgets = False
        repeated = await client.post("/v1/signatures", json=signature(seed))
        assert repeated.status_code == 202
        receipt = running.read_receipt(repeated.json()["receipt"])
    # The broker had stored the first one too: the counter knows both for one person by their key.
    first = before[receipt.partition]
    stored = await records(platform, topics.SIGNATURES.name, receipt.partition, first)
    assert [record.key for record in stored] == [receipt.key] * 2
    assert receipt.offset == first + 1
