"""The whole audit, in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import asyncpg

from deploy.audit import documents, ledger, rows
from deploy.audit.findings import SOURCES, Place, PlaceReport, Report, Source
from deploy.audit.log import reading
from deploy.local.endpoints import Endpoints
from deploy.mille.asking import ask

LEDGER_WITHIN_S: Final = 60.0
POLL_S: Final = 0.25
KEYS_AT_ONCE: Final = 2_000_000
"""So many submitted records are held in memory at a time."""
SHOWN_CELLS: Final = 10


async def audit(at: Endpoints) -> Report:
    """Compare rows, ledger, totals, published documents and the log of the platform `at`; counting may go on meanwhile.

    Raises:
        OSError, asyncpg.PostgresError, KafkaError, TransientError: a part could not be reached.
    """
    report = Report()
    async with AsyncExitStack() as stack:
        services = {
            name: await stack.enter_async_context(rows.moment(at["databases"][name]))
            for name in sorted({source.service for source in SOURCES})
        }
        counted: rows.Cells = {}
        for source in SOURCES:
            counted |= await rows.count(services[source.service], source, report.places)
        await _wait_for_the_ledger(at["databases"]["marathon"], report)
        async with rows.moment(at["databases"]["marathon"]) as marathon:
            await _verify_ledger(marathon, counted, report)
        await _verify_served(at, report)
        for source in SOURCES:
            await _compare_with_log(services[source.service], at["kafka"], source, report)
    return report


async def _verify_ledger(marathon: asyncpg.Connection, counted: rows.Cells, report: Report) -> None:
    report.ledger_rows = await ledger.verify_chains(marathon, report.differences)
    if not await ledger.expand(marathon):
        report.differences.append("ledger: what stands in it cannot be read")
        return
    report.declared = await ledger.declared(marathon)
    await _compare_rows(marathon, counted, report)
    totals = await ledger.verify_sums(marathon, report.differences)
    report.campaigns = {slug: totals.get(slug, 0) for slug in await ledger.campaigns(marathon)}
    await _verify_documents(marathon, await ledger.published(marathon), "stored", report)


async def _wait_for_the_ledger(url: str, report: Report) -> None:
    """Wait until everything that is in the rows we have seen has arrived in the ledger."""
    deadline = time.monotonic() + LEDGER_WITHIN_S
    connection = await asyncpg.connect(url, timeout=rows.CONNECT_S)
    try:
        for place, found in report.places.items():
            while (reached := await ledger.reached(connection, place)) < found.next:
                if time.monotonic() > deadline:
                    report.differences.append(f"{place}: counted up to {found.next}, the ledger has only {reached}")
                    break
                await asyncio.sleep(POLL_S)
    finally:
        await connection.close(timeout=rows.CONNECT_S)


async def _compare_rows(marathon: asyncpg.Connection, counted: rows.Cells, report: Report) -> None:
    """Distinct rows against the ledger, cell by cell, as of the moment at which the rows were read."""
    for place, found in report.places.items():
        summed = await ledger.cells_up_to(marathon, place, found.next)
        found.ledger = sum(summed.values())
        unequal = [
            (cell, counted[place].get(cell, 0), summed.get(cell, 0))
            for cell in sorted(counted[place].keys() | summed.keys(), key=str)
            if counted[place].get(cell, 0) != summed.get(cell, 0)
        ]
        for cell, there, told in unequal[:SHOWN_CELLS]:
            report.differences.append(f"{place}: {there} rows of {_words(cell)}, the ledger has {told}")
        if len(unequal) > SHOWN_CELLS:
            report.differences.append(f"{place}: {len(unequal) - SHOWN_CELLS} more cells differ")


async def _verify_documents(
    marathon: asyncpg.Connection, found: Mapping[str, str | Mapping[str, Any]], where: str, report: Report
) -> None:
    campaigns = await ledger.campaigns(marathon)
    for slug, content in found.items():
        document = json.loads(content) if isinstance(content, str) else content
        faults: list[str] = []
        ends = await ledger.ends_of(marathon, document["ledger"], faults)
        sums = await ledger.sums_up_to(marathon, slug, ends)
        faults += documents.faults(document, json.loads(campaigns[slug]), sums)
        report.differences += [f"{where} totals of {slug}, version {document['version']}: {fault}" for fault in faults]


async def _verify_served(at: Endpoints, report: Report) -> None:
    """The same for the documents that the public is shown now."""
    served = {}
    for slug in report.campaigns:
        answer = await asyncio.to_thread(ask, "GET", f"{at['marathon']}/v1/campaigns/{slug}/totals")
        if answer is None or not isinstance(answer.body, dict) or "ledger" not in answer.body:
            report.differences.append(f"served totals of {slug}: marathon does not answer with them")
        else:
            served[slug] = answer.body
    # A later moment: what is served may hold tally batches that came since.
    async with rows.moment(at["databases"]["marathon"]) as marathon:
        if served and await ledger.expand(marathon):
            await _verify_documents(marathon, served, "served", report)


async def _compare_with_log(service: asyncpg.Connection, kafka: str, source: Source, report: Report) -> None:
    places = {place: found for place, found in report.places.items() if place.topic == source.topic}
    async with reading(kafka, source.topic) as log:
        ranges = {place: log.retained(place.partition, found.next) for place, found in places.items()}
        for some in _in_portions(ranges):
            submitted = {}
            for place in some:
                offsets = ranges[place]
                dead = await rows.dead_letters(service, place)
                read = submitted[place.partition] = await log.submitted(place.partition, offsets, dead)
                _note(places[place], offsets, read.records, read.keys)
            await rows.compare_with_log(service, source, submitted, report.differences)


def _in_portions(ranges: Mapping[Place, range]) -> Iterator[list[Place]]:
    """Places whose records together fit into memory; at least one."""
    portion: list[Place] = []
    size = 0
    for place, offsets in ranges.items():
        if portion and size + len(offsets) > KEYS_AT_ONCE:
            yield portion
            portion, size = [], 0
        portion.append(place)
        size += len(offsets)
    if portion:
        yield portion


def _note(report: PlaceReport, offsets: range, submitted: int, keys: int) -> None:
    report.start, report.end = offsets.start, offsets.stop
    report.submitted, report.keys = submitted, keys


def _words(cell: tuple[str | None, ...]) -> str:
    return ", ".join(part or "no section" for part in cell)
