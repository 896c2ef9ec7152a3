"""The client of a request, according to its peer and trusted proxies."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from shared.http.client import Client, ClientResolver
from shared.privacy import dedupe

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
KEY = b"k" * 32


@pytest.fixture
def resolver() -> ClientResolver:
    return ClientResolver(PROXIES, "CF-IPCountry")


def test_a_stranger_is_who_it_is_whatever_it_says(resolver: ClientResolver) -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.7"), (b"cf-ipcountry", b"FR")]
    assert resolver.resolve("203.0.113.9", headers) == Client("203.0.113.9", None)


def test_a_trusted_proxy_names_client_and_country(resolver: ClientResolver) -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.7"), (b"cf-ipcountry", b"fr")]
    assert resolver.resolve("10.1.2.3", headers) == Client("198.51.100.7", "FR")


def test_the_last_address_that_is_no_proxy_is_the_client(resolver: ClientResolver) -> None:
    headers = [(b"x-forwarded-for", b"1.1.1.1, 198.51.100.7"), (b"x-forwarded-for", b"10.9.9.9, fd00::1")]
    assert resolver.resolve("10.1.2.3", headers).address == "198.51.100.7"


def test_what_is_no_address_ends_the_search_where_it_stands(resolver: ClientResolver) -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.7, unknown, 10.4.4.4")]
    assert resolver.resolve("10.1.2.3", headers).address == "10.4.4.4"


@pytest.mark.parametrize("country", [b"", b"FRA", b"1F", b"F\xff"])
def test_what_is_no_country_is_none(resolver: ClientResolver, country: bytes) -> None:
    assert resolver.resolve("10.1.2.3", [(b"cf-ipcountry", country)]).country is None


def test_a_mapped_address_is_the_one_it_maps(resolver: ClientResolver) -> None:
    assert resolver.resolve("::ffff:10.1.2.3", [(b"x-forwarded-for", b"198.51.100.7")]).address == "198.51.100.7"


def test_without_trusted_proxies_nothing_forwarded_is_believed() -> None:
    resolver = ClientResolver((), "CF-IPCountry")
    assert not resolver.has_trusted_proxies
    assert resolver.resolve("10.1.2.3", [(b"x-forwarded-for", b"198.51.100.7")]) == Client("10.1.2.3", None)


@pytest.mark.parametrize(
    ("one", "other"),
    [("192.0.2.1", "192.0.2.250"), ("2001:db8::1", "2001:db8::ffff:1"), ("::ffff:192.0.2.1", "192.0.2.9")],
)
def test_neighbours_share_a_mark(one: str, other: str) -> None:
    assert dedupe.network_hash(KEY, one) == dedupe.network_hash(KEY, other) != ""


def test_strangers_do_not_share_a_mark() -> None:
    assert dedupe.network_hash(KEY, "192.0.2.1") != dedupe.network_hash(KEY, "192.0.3.1")
    assert dedupe.network_hash(KEY, "192.0.2.1") != dedupe.network_hash(b"o" * 32, "192.0.2.1")
    assert dedupe.network_hash(KEY, "not an address") == ""
