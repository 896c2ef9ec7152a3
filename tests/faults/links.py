"""A stretch of network that loses packets, made of two network namespaces and a wire between them in our hands.

Linux alone can do it: each namespace has a TUN device, and whatever one sends, we hand to the other or drop. No kernel
module for loss is needed, no rule is left behind, and nothing outside of the two namespaces is touched.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import random
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

CLONE_NEWNET: Final = 0x40000000
TUNSETIFF: Final = 0x400454CA
IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
PACKET: Final = 65_536
NEAR, FAR = "10.213.0.1", "10.213.0.2"
COMMAND_S: Final = 10
ACCEPT_S: Final = 0.01
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
T = TypeVar("T")

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class NoNamespaceError(Exception):
    """This machine does not let us make a network namespace or a TUN device."""


class _Side:
    """One end: a thread that lives in a network namespace of its own, and the TUN device there."""

    def __init__(self, address: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"namespace {address}")
        self.address = address
        self.device = self.do(self._enter)

    def do(self, work: Callable[[], T]) -> T:
        """Do `work` inside of the namespace: sockets made there stay there."""
        return self._thread.submit(work).result(COMMAND_S * 3)

    def close(self) -> None:
        """Let go; the namespace goes with its thread."""
        os.close(self.device)
        self._thread.shutdown()

    def _enter(self) -> int:
        if _LIBC.unshare(CLONE_NEWNET) != 0:
            raise NoNamespaceError(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        try:
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN_NO_PI))
            for command in ("link set lo up", f"addr add {self.address}/30 dev wire", "link set wire mtu 1500 up"):
                subprocess.run(
                    ["/usr/bin/env", "ip", *command.split()], check=True, capture_output=True, timeout=COMMAND_S
                )
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoNamespaceError(f"no TUN device: {error}") from error
        return device


@dataclass
class LossyLink:
    """Connections over a wire that loses the share `loss` of its packets. Counts what it passed and dropped."""

    near: _Side
    far: _Side
    loss: float
    passed: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.loss)
        self._arrived: dict[tuple[str, int], socket.socket] = {}
        self._listener = self.far.do(self._listen)

    async def splice(self) -> tuple[Streams, Streams]:
        """Both ends of a new connection."""
        loop = asyncio.get_running_loop()
        dialling = self.near.do(_unconnected)
        try:
            await loop.sock_connect(dialling, (FAR, self._listener.getsockname()[1]))
            accepted = await self._accept(dialling.getsockname())
        except BaseException:
            dialling.close()
            raise
        return await _streams(dialling), await _streams(accepted)

    async def _accept(self, peer: tuple[str, int]) -> socket.socket:
        """The other end of the connection from `peer`; who gave up meanwhile is let go."""
        while peer not in self._arrived:
            try:
                accepted, address = self._listener.accept()
            except BlockingIOError:
                await asyncio.sleep(ACCEPT_S)
                continue
            accepted.setblocking(False)
            self._arrived[address] = accepted
        return self._arrived.pop(peer)

    def carry(self, source: _Side, target: _Side) -> None:
        """Take what `source` has sent and give it to `target`, or not."""
        with suppress(BlockingIOError):
            while packet := os.read(source.device, PACKET):
                if self._random.random() < self.loss:
                    self.dropped += 1
                    continue
                self.passed += 1
                with suppress(BlockingIOError):
                    os.write(target.device, packet)

    def close(self) -> None:
        """Let go of the listener, and of who arrived and was not asked for any more."""
        self._listener.close()
        for arrived in self._arrived.values():
            arrived.close()

    @staticmethod
    def _listen() -> socket.socket:
        listener = socket.socket()
        listener.bind((FAR, 0))
        listener.listen(256)
        listener.setblocking(False)
        return listener


@asynccontextmanager
async def lossy_link(loss: float) -> AsyncIterator[LossyLink]:
    """A link that loses the share `loss`.

    Raises:
        NoNamespaceError: it cannot be made here.
    """
    near = await asyncio.to_thread(_Side, NEAR)
    far = await asyncio.to_thread(_Side, FAR)
    link = LossyLink(near, far, loss)
    loop = asyncio.get_running_loop()
    loop.add_reader(near.device, link.carry, near, far)
    loop.add_reader(far.device, link.carry, far, near)
    try:
        yield link
    finally:
        loop.remove_reader(near.device)
        loop.remove_reader(far.device)
        link.close()
        near.close()
        far.close()


def _unconnected() -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    return made


async def _streams(connected: socket.socket) -> Streams:
    return await asyncio.open_connection(sock=connected)
