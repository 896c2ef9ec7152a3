"""Check from outside the invariants that must hold under every fault. Shares no code with the services.

The letters are those of the invariants: A nothing acknowledged is lost, B each is counted once, C nothing is invented,
D each mail arrives once, E nothing personal outside sealed data, F tally batches are contiguous and sum to the totals,
G the backlog drains within a minute of healing, H no false promise and no silence.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults import evidence
from tests.faults.evidence import SOURCES, Row, Source, StartMarks, Tallies
from tests.faults.journal import Act, Journal
from tests.faults.load import FAMILY, GIVEN, MAILBOX, country_of
from tests.faults.stand import Stand
from tests.support.needle_search import NeedleSearch

DRAIN_WITHIN_S: Final = 60.0
ANSWER_WITHIN_S: Final = 7.0
"""The promised 5 s, and a margin for a busy machine."""
RECEIPTS: Final = 25
POLL_S: Final = 0.2
PUBLISHED_WITHIN_S: Final = 5.0
LATE_COPIES_S: Final = 3.0
"""The time to wait for copies of mails after every person has received one."""


@dataclass
class Expected:
    """A scenario's effects beyond the journal.

    `change` is the number of further actions that count (negative: that no longer count), `without_row` the keys that
    must be dead letters and need no row, `no_mail_to` the domain that refuses mail, `copies` the maximum of copies of
    one mail, `redriven` the keys whose first record was a dead letter. With `cut_off`, intakes end or start during
    requests.
    """

    change: int = 0
    without_row: set[bytes] = field(default_factory=set)
    drain_within_s: float = DRAIN_WITHIN_S
    no_mail_to: str = ""
    copies: int = 1
    cut_off: bool = False
    redriven: set[bytes] = field(default_factory=set)


@dataclass
class Verdict:
    """The result of a check. `broken` lists the violations, each with the letter of its invariant."""

    acknowledged: int = 0
    counted: int = 0
    lost: int = 0
    doubled: int = 0
    drained_s: float | None = None
    broken: list[str] = field(default_factory=list)

    @property
    def letters(self) -> set[str]:
        """The invariants that did not hold."""
        return {text[0] for text in self.broken}


@dataclass(frozen=True, slots=True)
class Case:
    """The run to check: the load of `campaign` has stopped.

    By the monotonic clock, the fault ended at `healed`, and its backlog was counted at `backlog`: None if that took too
    long.
    """

    stand: Stand
    campaign: str
    journal: Journal
    marks: StartMarks
    tallies: Tallies
    healed: float
    backlog: float | None
    expected: Expected


async def judge(case: Case) -> Verdict:
    """Check a case and return the verdict, good or bad."""
    stand, campaign, journal, expected = case.stand, case.campaign, case.journal, case.expected
    verdict = Verdict(acknowledged=len(journal.acknowledged))
    verdict.broken += promises(journal, expected)
    patience = max(PUBLISHED_WITHIN_S, case.healed + expected.drain_within_s - time.monotonic())
    if case.backlog is None:
        verdict.broken.append(f"G: what waited was not counted {expected.drain_within_s:.0f} s after healing")
    else:
        verdict.drained_s = case.backlog - case.healed
    drained = await _drained(stand, time.monotonic() + patience)
    if not drained:
        verdict.broken.append(f"G: not everything was counted {patience:.0f} s after the last act")
    upper_bound = len(journal.acknowledged | dict.fromkeys(journal.given_up, "")) + expected.change
    lower_bound = len(journal.acknowledged) + expected.change
    records = {topic: await evidence.read(stand.kafka, topic, case.marks.ends) for topic in evidence.TOPICS}
    countries: Counter[str] = Counter()
    for source in SOURCES:
        rows = await evidence.rows(stand, source, campaign)
        countries += Counter(row.country for row in rows.values() if row.counts)
        verdict.broken += _compare(source, campaign, rows, records[source.topic], expected)
    verdict.counted = counted = countries.total()
    document = await _settled(stand, campaign, counted, patience if drained else 0.0)
    total = document["total"] if document else 0
    if total != counted:
        verdict.broken.append(f"B: the total says {total}, {counted} are counted")
    verdict.lost = max(0, lower_bound - counted)
    verdict.doubled = max(0, counted - upper_bound, total - upper_bound)
    if not lower_bound <= counted <= upper_bound:
        letter = "A" if counted < lower_bound else "C"
        verdict.broken.append(f"{letter}: {lower_bound} acts were acknowledged, {counted} are counted")
    verdict.broken += _countries(countries, document, journal, expected)
    verdict.broken += await _ledger(stand, campaign, case.tallies, counted)
    verdict.broken += await asyncio.to_thread(_receipts, stand, journal)
    verdict.broken += _topic_leaks(records)
    verdict.broken += await asyncio.to_thread(_process_leaks, stand, case.marks, journal)
    return verdict


def promises(journal: Journal, expected: Expected) -> list[str]:
    """Return the broken promises that the clients saw (H)."""
    cut = 0 if expected.cut_off else journal.cut
    odd = {status: count for status, count in journal.answers.items() if status not in {0, 202, 503}}
    found = [
        f"H: {journal.without_retry_after} answers of 503 without Retry-After" if journal.without_retry_after else "",
        f"H: {journal.hung} requests were never answered" if journal.hung else "",
        f"H: {cut} requests were cut off" if cut else "",
        f"H: an answer took {journal.slowest:.1f} s" if journal.slowest > ANSWER_WITHIN_S else "",
        f"H: unexpected answers: {odd}" if odd else "",
    ]
    return [text for text in found if text]


async def recovers(stand: Stand) -> bool:
    """Whether a healed stand counts its backlog."""
    return await _drained(stand, time.monotonic() + DRAIN_WITHIN_S)


async def _drained(stand: Stand, deadline: float) -> bool:
    """Whether every record was counted and published by `deadline`."""
    while not await _nothing_waits(stand):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


async def _nothing_waits(stand: Stand) -> bool:
    try:
        for source in SOURCES:
            if await evidence.ends_of(stand.kafka, source.topic) != await evidence.positions(stand, source):
                return False
        return await evidence.pending_records(stand) == 0
    except Exception:  # noqa: BLE001  a part is away: not drained yet
        return False


async def _settled(stand: Stand, campaign: str, counted: int, within: float) -> dict[str, Any] | None:
    """Return the public document once it shows at least `counted`, or as it is after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        document = await asyncio.to_thread(evidence.totals, stand, campaign)
        if (document and document["total"] >= counted) or time.monotonic() > deadline:
            return document
        await asyncio.sleep(POLL_S)


def _compare(
    source: Source, campaign: str, rows: dict[bytes, Row], records: list[evidence.Raw], expected: Expected
) -> list[str]:
    """Check that every key has its row, every row its record, and each begins at its first record (A, B, C)."""
    marker = json.dumps(campaign).encode()
    first: dict[bytes, tuple[int, int]] = {}
    for record in records:
        if record.key and record.value and marker in record.value and b"sealed" in record.value:
            first.setdefault(record.key, (record.partition, record.offset))
    missing = first.keys() - rows.keys() - expected.without_row
    invented = rows.keys() - first.keys()
    elsewhere = [
        key
        for key in rows.keys() & first.keys() - expected.redriven
        if first[key] != (rows[key].partition, rows[key].first_offset)
    ]
    found = [
        f"A: {len(missing)} keys of {source.topic} have no row" if missing else "",
        f"C: {len(invented)} rows of {source.table} have no record" if invented else "",
        f"B: {len(elsewhere)} rows of {source.table} do not begin at their first record" if elsewhere else "",
    ]
    return [text for text in found if text]


def _countries(rows: Counter[str], document: dict[str, Any] | None, journal: Journal, expected: Expected) -> list[str]:
    """Check country by country that the rows, the public map and, if known, the clients' counts agree (B)."""
    if document is None:
        return []
    acknowledged = Counter(country_of(act) for act in journal.acknowledged)
    shown = Counter(document["by_country"])
    shown.pop("other", None)
    unknown = expected.change or journal.given_up
    if rows != acknowledged and not unknown:
        return [f"B: by country the rows say {dict(rows)}, the clients {dict(acknowledged)}"]
    return [] if shown == rows else [f"B: by country the totals say {dict(shown)}, the rows {dict(rows)}"]


async def _ledger(stand: Stand, campaign: str, tallies: Tallies, counted: int) -> list[str]:
    await tallies.read_on()
    found, tallies.faults = tallies.faults, []
    summed = sum(change for (_, about), change in tallies.sums.items() if about == campaign)
    if summed != counted:
        found.append(f"F: the tally batches sum to {summed}, {counted} are counted")
    return found + [f"F: marathon's ledger halted {place}" for place in await evidence.halted(stand)]


def _receipts(stand: Stand, journal: Journal) -> list[str]:
    """Check that receipts lead to counted actions (A)."""
    for source in SOURCES:
        mine = [receipt for act, receipt in journal.acknowledged.items() if act.what == source.what]
        for receipt in mine[:: max(1, len(mine) // RECEIPTS)]:
            if (status := evidence.status_of(stand, source, receipt)) != "counted":
                return [f"A: a receipt of {source.topic} says {status}"]
    return []


_NEEDLES: Final = NeedleSearch(GIVEN, FAMILY, MAILBOX)


def _leaks(where: str, contents: list[bytes]) -> list[str]:
    return [f"E: planted data in {where}"] if any(_NEEDLES.is_in(content) for content in contents) else []


def _topic_leaks(records: Mapping[str, Sequence[evidence.Raw]]) -> list[str]:
    """Find planted personal data in a key, a header or a value of any topic (E)."""
    found = []
    for topic, topic_records in records.items():
        parts = [
            part
            for record in topic_records
            for part in (record.key, record.value, *(value for _, value in record.headers))
            if part
        ]
        found += _leaks(f"the topic {topic}", parts)
    return found


def _process_leaks(stand: Stand, marks: StartMarks, journal: Journal) -> list[str]:
    """Find planted personal data in a log, a metric or a refusal (E)."""
    found = []
    for path in stand.home.logs.glob("*.log"):
        with path.open("rb") as file:
            file.seek(min(marks.logs.get(path, 0), path.stat().st_size))
            found += _leaks(f"the log {path.name}", [file.read()])
    found += _leaks("an error's body", list(journal.bodies))
    metrics = [text.encode() for process in stand.services for text in evidence.metric_values(stand, process.name)]
    return found + _leaks("a metric", metrics)


async def mails(stand: Stand, address_of: dict[Act, str], within: float, copies: int) -> list[str]:
    """Check that each person in `address_of` gets one mail, under one Message-ID and at most `copies` times (D)."""
    deadline = time.monotonic() + within
    while True:
        ids: dict[str, set[str]] = {}
        for letter in stand.smtp_server.mails:
            ids.setdefault(letter.to, set()).add(letter.id)
        without = [address for address in address_of.values() if address not in ids]
        if not without or time.monotonic() > deadline:
            break
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(LATE_COPIES_S)
    counts = Counter(letter.to for letter in stand.smtp_server.mails)
    duplicated = [address for address in address_of.values() if counts[address] > copies]
    twice = [address for address in address_of.values() if len(ids.get(address, ())) > 1]
    found = [
        f"D: {len(without)} people got no mail" if without else "",
        f"D: {len(twice)} people got different mails about one act" if twice else "",
        f"D: {len(duplicated)} people got one mail more than {copies} times" if duplicated else "",
    ]
    return [text for text in found if text]
