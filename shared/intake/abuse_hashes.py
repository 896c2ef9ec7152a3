"""Keyed hashes of the origin of an action, for integrity rules. No address is stored."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from shared.privacy import dedupe

CACHE_SIZE: Final = 8_192


@lru_cache(maxsize=CACHE_SIZE)
def network_hash(key: bytes, address: str) -> str:
    """Return the keyed hash of the network (/24 or /64) of a client's IP address; empty where it has none."""
    try:
        ip = ip_address(address)
    except ValueError:
        return ""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return dedupe.network_hash(key, ip)


@lru_cache(maxsize=CACHE_SIZE)
def domain_hash(key: bytes, name: str) -> str:
    """Return the keyed hash of an e-mail domain in A-labels."""
    return dedupe.domain_hash(key, name)
