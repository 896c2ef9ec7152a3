"""Confirmation e-mail: how many a second are rendered and handed over, and what taking costs beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Final

from tests.bench.figures import Figures, costs, of_posts, run_three_times
from tests.bench.rows import paced, posts
from tests.bench.rows.posts import per_action
from tests.bench.stand import Stand, StandError
from tests.bench.turn import CONNECTIONS, Turn

MAILS: Final = 20_000
SUBMIT_PER_S: Final = 5_000
SENT_METRIC: Final = 'milleplumes_notifications_mails_total{outcome="sent"}'
TIMEOUT_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.25


async def measure(turn: Turn) -> Figures:
    """`mail`, with nothing else to do, then `with_mail`: single posts while mail goes out."""
    figures = await _sent(turn)
    turn.say("Single posts that ask for confirmation, while mail goes out")

    async def run() -> posts.PostsResult:
        return await posts.measure(turn.ours, connections=CONNECTIONS, seconds=turn.lengths.single)

    return figures | of_posts("with_mail", await run_three_times(run))


async def _sent(turn: Turn) -> Figures:
    """Submit while notifications stands still, let it go, and count what the relay has taken from the first mail on."""
    stand = turn.ours
    turn.say(f"{MAILS:,} confirmations to send")
    start = await _taken(stand)
    people = await _submitted(stand)
    before = stand.costs()
    first, began = await _sent_more_than(stand, start)
    last, ended = await _sent_more_than(stand, start + people - 1)
    used = stand.costs().used(before)
    files = sum(1 for _ in os.scandir(stand.at["mailbox"] or "."))
    return {
        "mail.per_s": (last - first) / (ended - began),
        **costs("mail", per_action(used, last - start)),
        "mail.exact": last - start == people == files - start,
    }


async def _submitted(stand: Stand) -> int:
    """How many people wait for their first mail."""
    pids = stand.pids("notifications", "all")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        seen = await paced.load(stand, per_s=SUBMIT_PER_S, seconds=MAILS / SUBMIT_PER_S).run()
        await stand.drain()
        people = (await stand.tally_snapshot()).rows
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    if not seen.clean:
        raise StandError("submissions were refused")
    return people


async def _sent_more_than(stand: Stand, mails: int) -> tuple[int, float]:
    """How many mails were sent once it was more than `mails`, and when that was seen."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (sent := await _taken(stand)) <= mails:
        if time.monotonic() > deadline:
            raise StandError(f"{mails - sent:,} mails were never sent")
        await asyncio.sleep(POLL_SECONDS)
    return sent, time.monotonic()


async def _taken(stand: Stand) -> int:
    for line in (await stand.metrics("notifications", "all")).splitlines():
        if line.startswith(SENT_METRIC):
            return int(float(line.split()[1]))
    return 0
