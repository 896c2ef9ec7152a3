"""No sabotage but faults from inside: a record that kills, a loop that is blocked, other versions."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.faults.sabotage.registry import patch, sabotage


@sabotage
def dies_of_a_key() -> None:
    """A fault from inside: the counter dies as soon as it reads a record of the key DEADLY_KEY."""
    from shared.counting.batch_decoder import BatchDecoder

    key = bytes.fromhex(os.environ["DEADLY_KEY"])
    work = BatchDecoder.plan

    async def deadly(self: Any, batches: Any) -> Any:
        if any(record.key == key for batch in batches for record in batch.records):
            os._exit(1)
        return await work(self, batches)

    patch(BatchDecoder, "plan", deadly)


@sabotage
def stands_still_on_signal() -> None:
    """A fault from inside: from SIGUSR1 on the event loop is blocked for ever."""

    def block(*_: object) -> None:
        while True:
            time.sleep(1)

    signal.signal(signal.SIGUSR1, block)


@sabotage
def given_up_soon() -> None:
    """Another setting: a member that has not asked for records for 3 s leaves its group, instead of 300 s."""
    from shared.kafka import loop, membership

    made = membership.create_consumer

    def impatient(*args: Any) -> Any:
        consumer = made(*args)
        consumer._max_poll_interval_ms = 3_000
        return consumer

    patch(loop, "create_consumer", impatient)


@sabotage
def wrong_clock() -> None:
    """Another machine: its clock is wrong by CLOCK_OFFSET_SECONDS."""
    from shared.clock import SystemClock
    from tests.support.clocks import WrongClock

    patch(SystemClock, "now", WrongClock(float(os.environ["CLOCK_OFFSET_SECONDS"])).now)


def _rewrite(change: Callable[[dict[str, Any]], None], version: bytes) -> None:
    from shared.kafka.producer_batches import ProducerBatches

    append = ProducerBatches.append

    def other(self: Any, partition: int, key: bytes, value: bytes, *rest: Any) -> bool:
        headers, listener = rest
        if b"sealed" in value:
            event = json.loads(value)
            change(event)
            value = json.dumps(event).encode()
            headers = [(name, version if name == "ce_dataversion" else text) for name, text in headers]
        return append(self, partition, key, value, headers, listener)

    patch(ProducerBatches, "append", other)


@sabotage
def speaks_newer() -> None:
    """Another version: the intake's events have fields that nobody here knows."""
    _rewrite(lambda event: event.update(mood={"of": ["the", 1, None]}, conditions="fine"), b"1.7")


@sabotage
def speaks_older() -> None:
    """Another version: the intake's events lack what may be left out."""
    optional = (
        "evidence",
        "confirmed_at",
        "public_name",
        "updates",
        "network",
        "domain",
        "petition_version",
        "section",
    )

    def leave_out(event: dict[str, Any]) -> None:
        for name in optional:
            event.pop(name, None)

    _rewrite(leave_out, b"1.0")


@sabotage
def speaks_the_next_major() -> None:
    """Another version: the intake's events are of the next major version."""
    _rewrite(lambda event: event.update(new=True), b"2.0")


@sabotage
def reads_the_next_major() -> None:
    """Another version: the counter reads the next major version too."""
    from shared.counting import event_decoder

    class _Either(int):
        def __eq__(self, other: object) -> bool:
            return other in {1, 2}

        def __ne__(self, other: object) -> bool:
            return other not in {1, 2}

        __hash__ = int.__hash__

    patch(event_decoder, "SUPPORTED_MAJOR", _Either(1))
