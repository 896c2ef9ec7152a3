"""Brings up the platform that a row is measured on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from deploy.local import platform
from deploy.local.endpoints import Endpoints
from deploy.local.home import PROJECT, remove
from deploy.local.settings import LocalSettings
from shared.errors import MilleplumesError
from shared.topics import SIGNATURES
from tests.bench.rivals import rivals
from tests.bench.rows import posts
from tests.bench.stand import stand
from tests.bench.turn import CONNECTIONS, Lengths, Say, Turn
from tests.bench.wrk import Wrk

HOME: Final = PROJECT / "build" / "bench-home"
PORT_STEP: Final = 200
"""The bench listens this far from a platform with the same settings, so that both can be up."""
RIVAL_PORT: Final = 8190
WARM_UP_SECONDS: Final = 15.0
"""After this long Java has compiled what a produce request goes through; before, it costs up to twice as much."""


class InterruptedBench(MilleplumesError):  # noqa: N818 - nothing went wrong
    """Somebody pressed Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a platform is like. `flush`: whether the broker flushes each batch to disk before it acknowledges it.

    It is empty at its start unless it goes `on` with what the last one left, which is deleted unless that `stays`.
    """

    flush: Literal["on", "off"] = "off"
    intakes: int = 1
    counters: int = 1
    mail: bool = False
    stays: bool = False
    on: bool = False


def bring_up(kind: Kind, wrk: Wrk, lengths: Lengths, say: Say, work: Callable[[Turn], Awaitable[None]]) -> None:
    """Bring up a platform of `kind`, warm it up, and let `work` run on it.

    Raises:
        InterruptedBench: Ctrl-C.
    """
    settings = _settings(kind)
    done: list[bool] = []

    async def run(at: Endpoints) -> None:
        topic_settings = SIGNATURES.broker_settings(flush=kind.flush == "on")
        confirmation: Literal["required", "none"] = "required" if kind.mail else "none"
        port = RIVAL_PORT + settings.mille_port_offset
        async with (
            stand(at, HOME, wrk, confirmation=confirmation) as ours,
            rivals(at, port, topic_settings) as theirs,
        ):
            if not kind.mail:
                await posts.load(ours, connections=CONNECTIONS, seconds=WARM_UP_SECONDS).run()
                await ours.drain()
            await work(Turn(ours, theirs, lengths, say))
        done.append(True)

    if not kind.on:
        remove(settings.home)
    try:
        asyncio.run(platform.run(settings, platform.Options(mail=kind.mail), say, run))
    finally:
        if not kind.stays:
            remove(settings.home)
    if not done:
        raise InterruptedBench("interrupted: nothing was written")


def _settings(kind: Kind) -> LocalSettings:
    return LocalSettings(
        mille_home=str(HOME),
        mille_port_offset=LocalSettings().mille_port_offset + PORT_STEP,
        kafka_flush=kind.flush,
        petitions_intakes=kind.intakes,
        petitions_counters=kind.counters,
    )
