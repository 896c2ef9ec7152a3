"""A client generated from petitions' OpenAPI document signs, and reads what became of its receipt."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path

import pytest

from deploy.local.endpoints import Endpoints
from tests.support.generated_clients import PACKAGE, generate_client
from tests.support.intakes import intake, publish_and_wait, signature
from tests.support.seeding import Seed, unique


async def test_a_generated_client_signs_and_reads_its_receipt(
    platform: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = Seed(unique("client"), time.time())
    async with intake(platform, "petitions", tmp_path) as running:
        await publish_and_wait(running, seed)
        async with running.client() as http:
            generate_client((await http.get("/openapi.json")).json(), tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        models = import_module(f"{PACKAGE}.models")
        signing, reading = (
            import_module(f"{PACKAGE}.api.signatures.{name}") for name in ("sign_petition", "read_signature_receipt")
        )
        async with import_module(f"{PACKAGE}.client").Client(base_url=running.origin) as client:
            as_json = models.SignatureRequest.from_dict(signature(seed))
            accepted = await signing.asyncio(client=client, body=as_json, idempotency_key=unique("key"))
            assert accepted.status == "accepted"
            state = await reading.asyncio(accepted.receipt, client=client)
            assert state.status in ("accepted", "counted")
            refused = await signing.asyncio(
                client=client, body=models.SignatureRequest.from_dict(signature(seed, email="x"))
            )
            assert [error.code for error in refused.errors] == ["email.invalid"]
            fields = {**signature(seed), "privacy": True}
            del fields["consent"]
            answer = await signing.asyncio_detailed(client=client, body=models.SignatureForm.from_dict(fields))
            assert answer.status_code == 303
