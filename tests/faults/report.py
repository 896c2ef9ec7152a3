"""The report: what each scenario was, what was counted, what was lost. Kept in build/, written to docs/faults.md."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deploy.local.home import PROJECT
from tests.bench import machine
from tests.faults.checker import Verdict
from tests.faults.registry import SCENARIOS, Sabotaged, Scenario

JSON_FILE: Final = PROJECT / "build" / "faults.json"
LOGS: Final = PROJECT / "build" / "faults-logs"
PAGE: Final = PROJECT / "docs" / "faults.md"

HEAD: Final = """\
# Under fire

<!-- Written by `make faults`; do not edit. -->

Each scenario runs the real services as processes under steady HTTP load, breaks something, heals it, and lets a checker
that shares no code with them judge from outside, by its own journal of what was acknowledged, SQL, the raw topics, the
public documents, logs and mails:

- **A** nothing acknowledged is lost; **B** each is counted once; **C** nothing is invented;
- **D** each mail arrives as one message; **E** nothing personal outside of sealed data;
- **F** tally batches are contiguous and sum to the totals; **G** the backlog is gone a minute after healing;
- **H** 503 with `Retry-After` in time, instead of silence or a false 202.

`make faults` runs all of them, `make faults ONLY=zombie-consumer` one, `SEED=7` strikes at other moments, `SLOW=1`
takes the full times where a broker or a database is away. `make faults SABOTAGED=1` runs each with a protection taken
out, to see that the checker notices. Six of them are part of `make test`. What did not hold leaves its logs in
build/faults-logs.
"""
COMMAND: Final = (
    "Each row is of the last run of its scenario, by `make faults` or by `make faults ONLY=` with its name."
)
TABLE: Final = """
| scenario | row | what happens | people a second | acknowledged | counted | lost | doubled | drained after (s) |
|---|---|---|---|---|---|---|---|---|
"""
SABOTAGE_TABLE: Final = """
## Seen to fail
Each scenario was also run with a protection taken out of a process, to show that the checker notices. The letters are
the invariants that it found broken.

| scenario | without | where | noticed |
|---|---|---|---|
"""


@dataclass
class ScenarioResult:
    """What became of one scenario. `seen` are sabotages with the letters that were found broken."""

    verdict: dict[str, Any] | None = None
    skipped: str = ""
    seed: int = 0
    seen: dict[str, str] = field(default_factory=dict)


def update(name: str, **changes: Any) -> None:
    """Keep what became of the scenario `name`."""
    lines = _kept()
    line = lines.setdefault(name, ScenarioResult())
    seen = changes.pop("seen", {})
    for what, value in changes.items():
        setattr(line, what, value)
    line.seen |= seen
    JSON_FILE.parent.mkdir(exist_ok=True)
    JSON_FILE.write_text(json.dumps({each: asdict(one) for each, one in lines.items()}, indent=1))


def update_verdict(scenario: Scenario, verdict: Verdict, seed: int) -> None:
    """Keep a verdict, whatever it is."""
    update(scenario.name, verdict=asdict(verdict), seed=seed, skipped="")


def keep_logs(scenario: Scenario, logs: Path) -> None:
    """Keep the logs of a stand on which something did not hold."""
    target = LOGS / scenario.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(logs, target)


def update_sabotaged(scenario: Scenario, without: Sabotaged, verdict: Verdict) -> None:
    """Keep that a sabotage was noticed."""
    update(scenario.name, seen={without.sabotage: "".join(sorted(verdict.letters))})


def write() -> None:
    """Write the document."""
    lines = _kept()
    named = [one for one in SCENARIOS.values() if one.name in lines]
    named.sort(key=lambda one: (int(one.rows.partition(",")[0]), one.name))
    ran = [one for one in named if lines[one.name].verdict or lines[one.name].skipped]
    rows = [_row(one, lines[one.name]) for one in ran]
    seen = [
        f"| {one.name} | {without.sabotage} | {', '.join(without.where)} | {lines[one.name].seen[without.sabotage]} |"
        for one in named
        for without in one.without
        if without.sabotage in lines[one.name].seen
    ]
    seeds = sorted({line.seed for line in lines.values() if line.verdict})
    text = HEAD + f"\n{_machine()} Seed {', '.join(map(str, seeds))}. {COMMAND}\n" + TABLE
    PAGE.write_text(text + "\n".join(rows) + "\n" + SABOTAGE_TABLE + "\n".join(seen) + "\n")


def _row(scenario: Scenario, line: ScenarioResult) -> str:
    head = f"| {scenario.name} | {scenario.rows} | {scenario.description} | {scenario.rate} |"
    found = line.verdict
    if found is None:
        return f"{head} skipped: {line.skipped} | | | | |"
    if found["broken"]:
        return f"{head} {found['acknowledged']:,} | DID NOT HOLD: {'; '.join(found['broken'])} | | | |"
    if not scenario.judged:
        return f"{head} {found['acknowledged']:,} | stands still, as it must | 0 | 0 | |"
    back = found["acknowledged"] - found["counted"] - found["lost"]
    counted = f"{found['counted']:,}" + (f" ({back} were taken back)" if back > 0 else "")
    drained = "" if found["drained_s"] is None else f"{found['drained_s']:.1f}"
    return f"{head} {found['acknowledged']:,} | {counted} | {found['lost']} | {found['doubled']} | {drained} |"


def _machine() -> str:
    found = machine.here()
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {found.cores} cores ({found.processor}), {found.memory_gib} GiB, "
        f"{found.kernel}, Python {found.python}."
    )


def _kept() -> dict[str, ScenarioResult]:
    if not JSON_FILE.exists():
        return {}
    return {name: ScenarioResult(**one) for name, one in json.loads(JSON_FILE.read_text()).items()}
