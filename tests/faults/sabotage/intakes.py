"""What can be taken out of an intake."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from tests.faults.sabotage.registry import patch, sabotage


@sabotage
def answer_before_storing() -> None:
    """The intake says 202 as soon as it has a record in hand."""
    from shared.kafka.producer_batches import ProducerBatches

    append = ProducerBatches.append

    def hasty(self: Any, partition: int, key: bytes, value: bytes, *rest: Any) -> bool:
        class Nobody:
            def on_acknowledged(self, partition: int, offset: int) -> None: ...

            def on_failed(self) -> None: ...

        headers, listener = rest
        taken = append(self, partition, key, value, headers, Nobody())
        if taken:
            asyncio.get_running_loop().call_soon(listener.on_acknowledged, partition, 0)
        return taken

    patch(ProducerBatches, "append", hasty)


@sabotage
def no_deadline() -> None:
    """The intake waits for its broker for ever."""
    from shared.kafka.producer_batches import ProducerBatches

    def patient(_self: Any, _queue: Any, _now: float) -> None: ...

    patch(ProducerBatches, "_sweep", patient)


@sabotage
def no_bound() -> None:
    """The intake takes whatever comes into its windows, and keeps it although those who waited have been told."""
    from shared.kafka import producer_batches

    def keep_all(_self: Any, queue: Any, now: float) -> None:
        for batch in queue.unacknowledged():
            if batch.listeners and batch.opened_at <= now - producer_batches.DEADLINE_SECONDS:
                batch.fail()

    patch(producer_batches, "MIN_BACKLOG_BYTES", 1 << 40)
    patch(producer_batches.ProducerBatches, "_sweep", keep_all)


@sabotage
def careless_keys() -> None:
    """The intake gives each post a key of its own."""
    from shared.privacy import dedupe

    def careless(*_: object, **__: object) -> bytes:
        return os.urandom(16)

    patch(dedupe, "signature_key", careless)
    patch(dedupe, "message_key", careless)


@sabotage
def own_clock() -> None:
    """The intake goes by its own clock."""
    from shared.kafka.broker_time import BrokerTime

    def learn_nothing(self: Any, *, sent: float, acknowledged: float, appended: float) -> None:
        del sent, appended
        self.observed_at = acknowledged

    patch(BrokerTime, "observe", learn_nothing)


@sabotage
def one_acknowledgement() -> None:
    """The intake takes the leader's word alone for stored."""
    from aiokafka import AIOKafkaProducer

    from shared.kafka import producer

    made: Any = AIOKafkaProducer

    def hasty(**settings: Any) -> Any:
        return made(**{**settings, "acks": 1, "enable_idempotence": False})

    patch(producer, "AIOKafkaProducer", hasty)


@sabotage
def opening_confirms() -> None:
    """Opening a mail's link does what its button is for."""
    from shared.intake import links

    patch(links._LinkPage, "show", links._LinkPage.press)
