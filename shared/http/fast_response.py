"""How a connection's hot request is answered, and how its transport looks to everybody else."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol


class Connection(Protocol):
    """What this module needs of the protocol class."""

    def answer_accepted(self, body: bytes, *, keep_alive: bool) -> None:
        """Write a 202 with `body` and go on with the connection."""
        ...

    def answer_unavailable(self, *, keep_alive: bool) -> None:
        """Write a 503 and go on with the connection."""
        ...

    def close_gently(self) -> None:
        """Close once what is written has gone; if the client is still sending, without cutting it off."""
        ...

    @property
    def ending(self) -> bool:
        """Whether nothing more is answered on this connection."""
        ...


class NobodyWaits:
    """In the place of a cycle's event: no task waits for the body of a hot request."""

    def set(self) -> None:
        """Nothing to wake."""


_NOBODY_WAITS: Final = NobodyWaits()


class FastResponse:
    """Stands as a connection's cycle while its hot request is unanswered: later requests queue, a shutdown waits."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "message_event", "response_complete", "response_started")

    def __init__(self, protocol: Connection) -> None:
        self._protocol = protocol
        self.response_complete = True
        self.response_started = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NOBODY_WAITS

    def begin(self, *, keep_alive: bool) -> None:
        """A request waits for its answer from now on."""
        self.response_complete = False
        self.keep_alive = keep_alive

    def leave(self) -> None:
        """The request is for somebody else to answer."""
        self.response_complete = True

    def accepted(self, body: bytes) -> None:
        """Answer 202 with this JSON."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.answer_accepted(body, keep_alive=self.keep_alive)

    def unavailable(self) -> None:
        """Answer 503."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.answer_unavailable(keep_alive=self.keep_alive)


class GentleTransport:
    """A connection's transport as its cycles see it: closing it does not cut off a client that is still sending."""

    def __init__(self, protocol: Connection, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info

    def close(self) -> None:
        self._protocol.close_gently()

    def is_closing(self) -> bool:
        return self._protocol.ending
