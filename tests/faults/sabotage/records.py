"""What can be taken out of the reading of records."""

from __future__ import annotations

from typing import Any

from tests.faults.sabotage.registry import patch, sabotage


@sabotage
def drops_dead_letters() -> None:
    """The counter skips what it cannot read and tells nobody."""
    from shared.counting import counter
    from shared.kafka.outbox import put_outbox

    async def forgetful(connection: Any, records: Any) -> None:
        await put_outbox(connection, [record for record in records if not record.topic.endswith(".dlq")])

    patch(counter, "put_outbox", forgetful)


@sabotage
def never_sets_aside() -> None:
    """The counter tries again whatever it died of."""
    from shared.kafka import assignments

    patch(assignments, "MIN_DEATHS_TO_POISON", 1 << 30)


@sabotage
def refuses_unknown_fields() -> None:
    """The counter takes no event with a field that it does not know."""
    import msgspec

    from shared.counting import event_decoder, fast_path

    class Strict(event_decoder.SubmissionRecord, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
        """A submission and nothing else."""

    decoder = msgspec.json.Decoder(Strict).decode
    reading, quick = event_decoder.EventDecoder.__init__, fast_path.FastPath.__init__

    def strict_reading(self: Any, topic: Any) -> None:
        reading(self, topic)
        self._submission = decoder

    def strict_quick(self: Any, *arguments: Any) -> None:
        quick(self, *arguments)
        self._decode = decoder

    patch(event_decoder.EventDecoder, "__init__", strict_reading)
    patch(fast_path.FastPath, "__init__", strict_quick)


@sabotage
def forgets_origins() -> None:
    """The counter takes a redriven record for a new one."""
    from shared.counting.event_decoder import EventDecoder

    headers = EventDecoder.decode_headers

    def forgetful(self: Any, record: Any, partition: int) -> Any:
        return headers(self, record, partition)[0], None

    patch(EventDecoder, "decode_headers", forgetful)
