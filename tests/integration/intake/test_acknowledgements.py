"""An acknowledgement without an offset gives no receipt: the sender gets a 503 and may repeat."""

from __future__ import annotations

import time
from pathlib import Path

from deploy.local.endpoints import Endpoints
from shared import topics
from tests.support.intakes import end_offsets, intake, publish_and_wait, read_records, signature
from tests.support.offset_dropping_proxy import offset_dropping_proxy
from tests.support.seeding import Seed, unique


async def test_an_acknowledgement_without_an_offset_is_answered_503_and_repeating_is_answered_202(
    platform: Endpoints, tmp_path: Path
) -> None:
    seed = Seed(unique("forgotten"), time.time())
    async with (
        offset_dropping_proxy(platform["kafka"], topics.SIGNATURES.name) as proxy,
        intake(platform, "petitions", tmp_path, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{proxy.port}") as running,
        running.client() as client,
    ):
        await publish_and_wait(running, seed)
        before = await end_offsets(platform, topics.SIGNATURES.name)
        proxy.drops_offsets = True
        refused = await client.post("/v1/signatures", json=signature(seed))
        assert (refused.status_code, proxy.dropped) == (503, 1)
        assert int(refused.headers["retry-after"]) > 0
        assert "receipt" not in refused.text
        proxy.drops_offsets = False
        repeated = await client.post("/v1/signatures", json=signature(seed))
        assert repeated.status_code == 202
        receipt = running.read_receipt(repeated.json()["receipt"])
    # The broker had stored the first record too; the counter recognises both as one signature by their key.
    first = before[receipt.partition]
    stored_records = await read_records(platform, topics.SIGNATURES.name, receipt.partition, first)
    assert [record.key for record in stored_records] == [receipt.key] * 2
    assert receipt.offset == first + 1
