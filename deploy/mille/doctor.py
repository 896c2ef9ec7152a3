"""`mille doctor`: check each part and say how to mend what is wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import asyncpg
import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from deploy.local import diagnosis, endpoints
from deploy.local.diagnosis import Finding
from deploy.local.settings import LocalSettings
from deploy.recovery.counted_topics import COUNTED_TOPICS
from deploy.recovery.dead_letters import WAITING, read_letters
from shared.errors import MilleplumesError

COUNT_TIMEOUT_S: Final = 60.0
DEAD_LETTERS: Final = "dead letters"
LIST: Final = "docs/runbooks/dead-letters.md; `mille dlq list` says which"

app = typer.Typer(add_completion=False)


@app.command()
def doctor() -> None:
    """Check each part; the exit status is 1 where anything is wrong."""
    console = Console(soft_wrap=True, highlight=False)
    settings = LocalSettings()
    findings = [*asyncio.run(diagnosis.examine(settings)), *asyncio.run(_dead_letters(settings))]
    for finding in findings:
        status = "[red]bad [/]" if finding.remedy else "[green]ok  [/]"
        console.print(f"{status} {finding.part}: ", end="")
        console.print(finding.description, markup=False)
        if finding.remedy:
            console.print(f"       -> {finding.remedy}", markup=False)
    raise typer.Exit(1 if any(finding.remedy for finding in findings) else 0)


async def _dead_letters(settings: LocalSettings) -> list[Finding]:
    """Count the dead letters that wait; nothing where Kafka or a database is away, which other checks report."""
    try:
        at = endpoints.read(settings.home)
        async with asyncio.timeout(COUNT_TIMEOUT_S):
            found = [letter for counted in COUNTED_TOPICS for letter in await read_letters(at, counted.topic)]
    except TimeoutError:
        return [Finding(DEAD_LETTERS, f"not counted within {COUNT_TIMEOUT_S:g} s", LIST)]
    except (OSError, MilleplumesError, KafkaError, asyncpg.PostgresError):
        return []
    waiting = Counter(letter.topic.name for letter in found if letter.state == WAITING)
    if not waiting:
        return [Finding(DEAD_LETTERS, "none waits")]
    counts = ", ".join(f"{count} of {topic}" for topic, count in waiting.items())
    return [Finding(DEAD_LETTERS, f"{waiting.total()} wait: {counts}", LIST)]
