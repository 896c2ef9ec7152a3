"""The answer to a connection's fast request."""

from __future__ import annotations

from typing import Final, Protocol


class Connection(Protocol):
    """The part of the protocol class that this module uses."""

    def write_accepted(self, body: bytes, *, keep_alive: bool) -> None:
        """Write a 202 with `body` and continue with the connection."""
        ...

    def write_unavailable(self, *, keep_alive: bool) -> None:
        """Write a 503 and continue with the connection."""
        ...


class _NullEvent:
    """The event of a fast request: no task waits for its body."""

    def set(self) -> None:
        """Do nothing, since no task waits."""


_NULL_EVENT: Final = _NullEvent()


class FastResponse:
    """The connection's cycle while its fast request is unanswered: later requests queue, a shutdown waits."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "message_event", "response_complete", "response_started")

    def __init__(self, protocol: Connection) -> None:
        self._protocol = protocol
        self.response_complete = True
        self.response_started = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NULL_EVENT

    def start(self, *, keep_alive: bool) -> None:
        """Begin to answer a request."""
        self.response_complete = False
        self.keep_alive = keep_alive

    def hand_over(self) -> None:
        """Leave the answer to the ordinary route."""
        self.response_complete = True

    def send_accepted(self, body: bytes) -> None:
        """Answer 202 with this JSON."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_accepted(body, keep_alive=self.keep_alive)

    def send_unavailable(self) -> None:
        """Answer 503."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_unavailable(keep_alive=self.keep_alive)
