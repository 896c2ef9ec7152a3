"""The demo's own two campaigns, as `mille campaigns import` reads them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from string import Template
from typing import Final

from deploy.demo.plan import LETTERS, SOLIDARITY_MESSAGES, Plan
from shared.clock import parse_rfc3339, rfc3339

FOLDER: Final = Path(__file__).with_name("data")
OPEN_FOR: Final = timedelta(days=30)
OPENED_BEFORE: Final = timedelta(minutes=10)


def campaign_files(plan: Plan) -> dict[str, str]:
    """Return the campaign files by their names: of the replayed petition, and of letters and solidarity messages."""
    goals = {"signatures.yaml": plan.people, "letters.yaml": LETTERS + SOLIDARITY_MESSAGES}
    began = parse_rfc3339(plan.started_at)
    given = {
        **plan.slugs._asdict(),
        "opens": rfc3339(began - OPENED_BEFORE.total_seconds()),
        "closes": rfc3339(began + OPEN_FOR.total_seconds()),
    }
    return {name: Template((FOLDER / name).read_text()).substitute(given, goal=goal) for name, goal in goals.items()}
