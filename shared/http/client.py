"""The client of a request, according to its peer and trusted proxies. Both kinds of route use this module."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

Headers = Iterable[tuple[bytes, bytes]]
Network = IPv4Network | IPv6Network

_COUNTRY: Final = re.compile(rb"[A-Za-z]{2}")
_CACHE_SIZE: Final = 10_000


class Client(NamedTuple):
    """`address` as text, empty if unknown; `country` as two upper-case letters where a trusted proxy named it."""

    address: str
    country: str | None


class ClientResolver:
    """Determine the client of a request.

    Forwarding headers are believed only from a peer in `trusted_proxies`: then the client is the last address in
    `X-Forwarded-For` that is no trusted proxy itself. `country_header` is the header in which such a proxy names a
    country.
    """

    def __init__(self, trusted_proxies: tuple[Network, ...], country_header: str | None) -> None:
        self._country_header = country_header.lower().encode("ascii") if country_header else None
        self._networks = trusted_proxies
        self.has_trusted_proxies = bool(trusted_proxies)
        self._trusted = lru_cache(maxsize=_CACHE_SIZE)(self._is_trusted)

    def resolve(self, peer: str, headers: Headers) -> Client:
        """Return the client of a request from `peer` (an address without a port); header names are in lower case."""
        if not self.has_trusted_proxies or not self._trusted(peer):
            return Client(peer, None)
        forwarded: list[bytes] = []
        country = None
        for name, value in headers:
            if name == b"x-forwarded-for":
                forwarded += value.split(b",")
            elif name == self._country_header and _COUNTRY.fullmatch(value):
                country = value.decode("ascii").upper()
        return Client(self._nearest_untrusted(peer, forwarded), country)

    def _nearest_untrusted(self, peer: str, forwarded: list[bytes]) -> str:
        for hop in reversed(forwarded):
            address = _parse_address(hop.decode("latin-1").strip())
            if address is None:
                return peer
            peer = str(address)
            if not self._trusted(peer):
                break
        return peer

    def _is_trusted(self, text: str) -> bool:
        address = _parse_address(text)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
