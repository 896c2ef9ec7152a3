"""kill -9 of any part under load: nothing acknowledged is lost, each is counted once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import checker
from tests.faults.load import Load
from tests.support.running import Running, mille_run, temporary_home

SEED = int(os.environ.get("SEED", "20261121"))

CAMPAIGN = """
campaign:
  slug: {slug}
  title: {{en: Under fire}}
  opens: 2020-01-01T00:00:00Z
  closes: 2100-01-01T00:00:00Z
  goal: 100000
  languages: [en]
  policies: {{one_per: email, confirmation: none, public_evidence: [recorded], public_threshold: 1}}
cases:
  - slug: case-{slug}
    name: Sample Case
    country: FR
    status: detained
    story: {{en: A story.}}
    petition: {{slug: free-{slug}, title: {{en: Free}}, text: {{en: Free the sample.}}, targets: []}}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with temporary_home() as home, mille_run(home, "--no-mail") as running:
        running.wait_until_up()
        yield running


def _import(running: Running, slug: str, folder: Path) -> checker.System:
    file = folder / f"{slug}.yaml"
    file.write_text(CAMPAIGN.format(slug=slug))
    subprocess.run(
        [sys.executable, "-m", "deploy.mille", "campaigns", "import", str(file)],
        env={**os.environ, "MILLE_HOME": str(running.home.root)},
        check=True,
        timeout=120,
    )
    at = running.endpoints()
    return checker.System(at["marathon"], at["kafka"], at["databases"], slug)


def _victim(running: Running, name: str) -> int:
    service, _, role = name.partition("-")
    return running.pid(service, role) if role else running.endpoints()["platform"][service]


@pytest.mark.parametrize("victim", ["petitions-counter", "petitions-intake", "marathon-all", "postgres", "kafka"])
async def test_nothing_is_lost_or_counted_twice_when_a_part_is_killed(
    running: Running, tmp_path: Path, victim: str
) -> None:
    system = await asyncio.to_thread(_import, running, f"kill-{victim}", tmp_path)
    load = Load(f"{running.endpoints()['petitions']}/v1/signatures", f"free-{system.campaign}", SEED)
    chance = random.Random(SEED)
    await load.start()
    for _ in range(2):
        await load.reach(len(load.journal.acknowledged) + chance.randint(500, 2_000))
        os.kill(_victim(running, victim), signal.SIGKILL)
    await load.reach(len(load.journal.acknowledged) + 1_000, within=120)
    await checker.judge(system, await load.stop())


async def test_a_counter_that_was_stopped_for_long_does_not_count_twice(running: Running, tmp_path: Path) -> None:
    system = await asyncio.to_thread(_import, running, "zombie-consumer", tmp_path)
    load = Load(f"{running.endpoints()['petitions']}/v1/signatures", f"free-{system.campaign}", SEED)
    await load.start()
    await load.reach(1_000)
    counter = running.pid("petitions", "counter")
    os.kill(counter, signal.SIGSTOP)
    await load.reach(len(load.journal.acknowledged) + 3_000)
    os.kill(counter, signal.SIGCONT)
    await load.reach(len(load.journal.acknowledged) + 1_000)
    await checker.judge(system, await load.stop())
