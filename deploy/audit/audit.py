"""Run the whole audit, in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import asyncpg

from deploy.audit import documents, ledger, rows
from deploy.audit.findings import SOURCES, AuditReport, Partition, Source
from deploy.audit.topic_log import TopicLog
from deploy.local.connections import connect, snapshot
from deploy.local.endpoints import Endpoints
from deploy.mille.service_client import request
from shared.kafka.topic_scan import open_scan

LEDGER_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.25
MAX_RECORDS_IN_MEMORY: Final = 2_000_000
"""Submitted records in memory at a time."""
MAX_CELLS_SHOWN: Final = 10

_snapshot = partial(snapshot, readonly=False, server_settings={"application_name": "audit"})
"""Deltas are expanded into a temporary table, which a transaction that only reads could not make."""


async def audit(at: Endpoints) -> AuditReport:
    """Compare rows, ledger, totals, published documents and the log of the platform `at`; counting may go on meanwhile.

    Raises:
        OSError, asyncpg.PostgresError, KafkaError, TransientError: a part could not be reached.
    """
    report = AuditReport()
    async with AsyncExitStack() as stack:
        services = {
            name: await stack.enter_async_context(_snapshot(at["databases"][name]))
            for name in sorted({source.service for source in SOURCES})
        }
        counted: rows.CellsByPartition = {}
        for source in SOURCES:
            counted |= await rows.count_rows(services[source.service], source, report.partitions)
        await _wait_for_the_ledger(at["databases"]["marathon"], report)
        async with _snapshot(at["databases"]["marathon"]) as marathon:
            await _verify_ledger(marathon, counted, report)
        await _verify_served(at, report)
        for source in SOURCES:
            await _compare_with_log(services[source.service], at["kafka"], source, report)
    return report


async def _verify_ledger(marathon: asyncpg.Connection, counted: rows.CellsByPartition, report: AuditReport) -> None:
    report.ledger_rows = await ledger.verify_chains(marathon, report.differences)
    if not await ledger.expand_deltas(marathon):
        report.differences.append("ledger: what stands in it cannot be read")
        return
    report.declared = await ledger.declared_ranges(marathon)
    await _compare_rows(marathon, counted, report)
    totals = await ledger.verify_sums(marathon, report.differences)
    report.campaigns = {slug: totals.get(slug, 0) for slug in await ledger.campaigns(marathon)}
    await _verify_documents(marathon, await ledger.published(marathon), "stored", report)


async def _wait_for_the_ledger(url: str, report: AuditReport) -> None:
    """Wait until the ledger holds everything that was counted in the rows."""
    deadline = time.monotonic() + LEDGER_TIMEOUT_S
    async with connect(url) as connection:
        for partition, checked in report.partitions.items():
            while (reached := await ledger.end_offset(connection, partition)) < checked.next:
                if time.monotonic() > deadline:
                    report.differences.append(
                        f"{partition}: counted up to {checked.next}, the ledger has only {reached}"
                    )
                    break
                await asyncio.sleep(POLL_S)


async def _compare_rows(marathon: asyncpg.Connection, counted: rows.CellsByPartition, report: AuditReport) -> None:
    """Compare the rows with the ledger, cell by cell, as of the moment at which the rows were read."""
    for partition, checked in report.partitions.items():
        summed = await ledger.cells_up_to(marathon, partition, checked.next)
        checked.ledger = sum(summed.values())
        unequal = [
            (cell, counted[partition].get(cell, 0), summed.get(cell, 0))
            for cell in sorted(counted[partition].keys() | summed.keys(), key=str)
            if counted[partition].get(cell, 0) != summed.get(cell, 0)
        ]
        for cell, row_count, ledger_count in unequal[:MAX_CELLS_SHOWN]:
            words = ", ".join(part or "no section" for part in cell)
            report.differences.append(f"{partition}: {row_count} rows of {words}, the ledger has {ledger_count}")
        if len(unequal) > MAX_CELLS_SHOWN:
            report.differences.append(f"{partition}: {len(unequal) - MAX_CELLS_SHOWN} more cells differ")


async def _verify_documents(
    marathon: asyncpg.Connection, documents_: Mapping[str, Mapping[str, Any]], origin: str, report: AuditReport
) -> None:
    campaigns = await ledger.campaigns(marathon)
    for slug, document in documents_.items():
        faults: list[str] = []
        ends = await ledger.offsets_of_heads(marathon, document["ledger"], faults)
        sums = await ledger.sums_up_to(marathon, slug, ends)
        reasons = await ledger.count_reasons(marathon, slug)
        faults += documents.faults(document, campaigns[slug], sums, reasons=reasons)
        report.differences += [f"{origin} totals of {slug}, version {document['version']}: {fault}" for fault in faults]


async def _verify_served(at: Endpoints, report: AuditReport) -> None:
    """Check the documents that marathon serves now, too."""
    served = {}
    for slug in report.campaigns:
        response = await asyncio.to_thread(request, "GET", f"{at['marathon']}/v1/campaigns/{slug}/totals")
        if response is None or not isinstance(response.body, dict) or "ledger" not in response.body:
            report.differences.append(f"served totals of {slug}: marathon does not answer with them")
        else:
            served[slug] = response.body
    # A later snapshot: the served documents may include newer tally batches.
    async with _snapshot(at["databases"]["marathon"]) as marathon:
        if served and await ledger.expand_deltas(marathon):
            await _verify_documents(marathon, served, "served", report)


async def _compare_with_log(service: asyncpg.Connection, kafka: str, source: Source, report: AuditReport) -> None:
    reports = {
        partition: checked for partition, checked in report.partitions.items() if partition.topic == source.topic
    }
    async with open_scan(kafka, source.topic) as scan:
        log = TopicLog(scan)
        ranges = {partition: log.retained(partition.partition, checked.next) for partition, checked in reports.items()}
        for group in _memory_sized_groups(ranges):
            submitted = {}
            for partition in group:
                offsets, checked = ranges[partition], reports[partition]
                dead = await rows.dead_letters(service, partition)
                read = submitted[partition.partition] = await log.read_submitted(partition.partition, offsets, dead)
                checked.start, checked.end = offsets.start, offsets.stop
                checked.submitted, checked.keys = read.record_count, read.key_count
            await rows.compare_with_log(service, source, submitted, report.differences)


def _memory_sized_groups(ranges: Mapping[Partition, range]) -> Iterator[list[Partition]]:
    """Group partitions whose records together fit into memory; each group has at least one."""
    group: list[Partition] = []
    size = 0
    for partition, offsets in ranges.items():
        if group and size + len(offsets) > MAX_RECORDS_IN_MEMORY:
            yield group
            group, size = [], 0
        group.append(partition)
        size += len(offsets)
    if group:
        yield group
