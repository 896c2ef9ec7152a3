"""Check whether the ports we need are free, and explain what to do if one is not."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from shared.errors import SetupError

HOST: Final = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether nothing listens on `port` of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def check_free(ports: Iterable[tuple[str, int]]) -> None:
    """Make sure that all `ports`, each with the setting that names it, are free.

    Raises:
        SetupError: one is in use; the message names it and the settings that change it.
    """
    if in_use := [(name, port) for name, port in ports if not is_free(port)]:
        listed = ", ".join(f"{port} ({name.upper()})" for name, port in in_use)
        first = in_use[0][0].upper()
        raise SetupError(
            f"port {listed} on {HOST} is in use by another program. Stop that program, "
            f"or set {first} to another port, or MILLE_PORT_OFFSET to move all ports at once (for example 1000)."
        )
