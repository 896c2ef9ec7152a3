"""Keyed hashes of where an action came from, for integrity rules. No address is kept."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from shared.privacy import dedupe

REMEMBERED: Final = 8_192


@lru_cache(maxsize=REMEMBERED)
def network(key: bytes, address: str) -> str:
    """Keyed hash of the network (/24 or /64) of a client's address; empty where there is none."""
    try:
        client = ip_address(address)
    except ValueError:
        return ""
    if isinstance(client, IPv6Address) and client.ipv4_mapped is not None:
        client = client.ipv4_mapped
    return dedupe.network_hash(key, client)


@lru_cache(maxsize=REMEMBERED)
def domain(key: bytes, name: str) -> str:
    """Keyed hash of an e-mail domain in A-labels."""
    return dedupe.domain_hash(key, name)
