"""The demo's own two campaigns, as `mille campaigns import` reads them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import yaml

from deploy.demo.plan import LETTERS, SOLIDARITY_MESSAGES, Plan
from shared.clock import parse_rfc3339, rfc3339

OPEN_FOR: Final = timedelta(days=30)
OPENED_BEFORE: Final = timedelta(minutes=10)
POLICIES: Final = {
    "one_per": "email",
    "confirmation": "optional",
    "public_evidence": ["confirmed", "recorded", "offline"],
    "public_threshold": 1,
}
"""A threshold of 1 shows every cell exactly, so that the public document can be compared country by country."""


def signatures(plan: Plan) -> str:
    """Return the campaign that replays the petition, as YAML."""
    petition = {
        "slug": plan.slugs.petition,
        "title": {
            "en": "A real petition's five million signatures, replayed",
            "fr": "Les cinq millions de signatures d'une vraie pétition, rejouées",
        },
        "text": {
            "en": "Petition 241584 gathered five million signatures in four days of March 2019. Here invented people "
            "sign again, as many in each country as were published, and every one of them must be counted once.",
            "fr": "La pétition 241584 a réuni cinq millions de signatures en quatre jours de mars 2019. Ici des "
            "personnes inventées signent à nouveau, autant par pays qu'il en fut publié, et chacune doit être comptée "
            "une fois.",
        },
        "targets": [{"name": "Whoever doubts the total", "role": "Reader of the published table"}],
    }
    case = {
        "slug": plan.slugs.case,
        "name": "Petition 241584",
        "country": "GB",
        "status": "open",
        "story": {
            "en": "The counts are real and published under the Open Government Licence. The people are invented.",
            "fr": "Les nombres sont réels et publiés sous l'Open Government Licence. Les personnes sont inventées.",
        },
        "petition": petition,
    }
    title = {"en": "Demo: a petition replayed", "fr": "Démo : une pétition rejouée"}
    return _document(plan, plan.slugs.campaign, title, plan.people, case)


def letters(plan: Plan) -> str:
    """Return the campaign of letters and solidarity messages, as YAML."""
    case = {
        "slug": plan.slugs.letters_case,
        "name": "Mara Ilven",
        "country": "AQ",
        "status": "detained",
        "address": {"lines": ["Mara Ilven", "Ross Island, Hut 3", "99999 McMurdo"], "language": "en"},
        "writing": {
            "languages": ["en", "fr"],
            "rules": {
                "en": ["By hand or printed", "At most two pages"],
                "fr": ["À la main ou imprimé", "Deux pages au plus"],
            },
        },
        "story": {
            "en": "Mara Ilven does not exist. She stands for those to whom letters go.",
            "fr": "Mara Ilven n'existe pas. Elle représente celles et ceux à qui vont les lettres.",
        },
    }
    title = {"en": "Demo: letters to Mara Ilven", "fr": "Démo : lettres à Mara Ilven"}
    return _document(plan, plan.slugs.letters_campaign, title, LETTERS + SOLIDARITY_MESSAGES, case)


def _document(plan: Plan, slug: str, title: dict[str, str], goal: int, case: dict[str, Any]) -> str:
    began = parse_rfc3339(plan.started_at)
    campaign = {
        "slug": slug,
        "title": title,
        "opens": rfc3339(began - OPENED_BEFORE.total_seconds()),
        "closes": rfc3339(began + OPEN_FOR.total_seconds()),
        "goal": goal,
        "languages": ["en", "fr"],
        "policies": POLICIES,
    }
    document: str = yaml.safe_dump({"campaign": campaign, "cases": [case]}, allow_unicode=True, sort_keys=False)
    return document
