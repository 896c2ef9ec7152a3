"""Tables filled for the bench are like those that a counter has filled, and a counter goes on with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit, urlunsplit

from deploy.local.endpoints import Endpoints
from services.petitions.consumers.counted import SIGNATURES
from tests.bench import filling
from tests.support.counting import counting_harness, key_of, signature

PEOPLE = 40
FILLED = 3_000


async def test_a_filled_table_has_the_counters_shape_and_is_counted_into_exactly(
    platform: Endpoints, make_database: Callable[[str], Awaitable[str]]
) -> None:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as made:
        url = urlunsplit(urlsplit(platform["administrator"])._replace(path=urlsplit(made.database).path))
        people = [str(number) for number in range(PEOPLE)]
        await made.publish_all([("submitted", key_of(person), signature(person)) for person in people])
        await made.count_all()

        await filling.fill(url, 0, FILLED)
        shapes = await made.pool.fetch("SELECT DISTINCT octet_length(key), state, invalidated FROM signatures")
        assert len(shapes) == 1
        keys = await made.pool.fetchval("SELECT count(DISTINCT substr(key, 1, 1)) FROM signatures")
        assert keys == 256
        shapes = await made.pool.fetch("SELECT DISTINCT octet_length(key), octet_length(digest) FROM submissions")
        assert len(shapes) == 1
        assert await made.pool.fetchval("SELECT count(DISTINCT octet_length(sealed)) FROM submissions") > 10

        await made.publish_all([("submitted", key_of(person), signature(person)) for person in [*people, "one more"]])
        await made.count_all()
        assert await made.pool.fetchval("SELECT count(*) FROM signatures") == FILLED + PEOPLE + 1

        await filling.keep_one_row(url)
        assert await made.pool.fetchval("SELECT count(*) FROM signatures") == 1
        await filling.fill(url, FILLED, FILLED + 100)
        assert await made.pool.fetchval("SELECT count(*) FROM signatures") == 101
        assert await made.pool.fetchval("SELECT count(*) FROM submissions") == 101
