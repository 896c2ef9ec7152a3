"""Sample data for pages: ten invented cases and the published country counts of a real petition."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.clock import parse_rfc3339, rfc3339
from shared.events.marathon import (
    Address,
    CampaignChanged,
    CaseChanged,
    Contact,
    Correction,
    Petition,
    Policies,
    Target,
    TotalsChanged,
    Writing,
)

NOW: Final = parse_rfc3339("2026-12-01T12:00:00.250Z")
SLUG: Final = "letter-marathon"
CASE: Final = "amina-haddad"
SAMPLE_CASES: Final = (
    ("amina-haddad", "Amina Haddad", "DZ", 612_480, "Journalist"),
    ("nurses-of-kayanza", "The nurses of Kayanza", "BI", 401_233, "Nine health workers"),
    ("sofia-ibarra", "Sofía Ibarra", "CL", 538_917, "Student"),
    ("elena-quintero", "Elena Quintero", "CO", 597_306, "Forest guardian"),
    ("the-three-of-birgu", "The three of Birgu", "MT", 358_742, "Young men who translated"),
    ("htet-aung-lin", "Htet Aung Lin", "MM", 571_094, "Poet"),
    ("rashid-baloch", "Rashid Baloch", "PK", 447_655, "Lawyer"),
    ("noura-alharbi", "Noura Alharbi", "SA", 689_210, "Teacher"),
    ("thandeka-zulu", "Thandeka Zulu", "ZA", 455_381, "Land defender"),
    ("deniz-arslan", "Deniz Arslan", "TR", 481_986, "Student"),
)
"""Slug, name, country, count, occupation. All invented."""


ADDRESS: Final = Address(
    version=1,
    lines=("Фамилии Имени Отчеству", "ФКУ ИК-00, отряд 0", "ул. Образцовая, д. 1", "г. Примерск", "000000 СТРАНА"),
    language="ru",
    country="DZ",
)
WRITING: Final = Writing(
    languages=("ru",),
    rules={
        "en": ("By hand or printed", "At most 2 pages, no staples", "No money", "Not a word about the case"),
        "fr": ("À la main ou imprimé", "2 pages au plus, sans agrafes", "Pas d’argent", "Pas un mot sur l’affaire"),
    },
)
CONTACT: Final = Contact(
    email="write@ngo.example",
    address=("The organisation", "1 Example Street", "00000 Example"),
    imprint={"en": "The organisation is registered in Example.", "fr": "L’organisation est inscrite à Exemple."},
    privacy={"en": "https://ngo.example/privacy"},
)
LETTER: Final = """Здравствуйте!

Мы с Вами не знакомы. Я живу в Лионе, преподаю музыку в школе и пишу Вам, чтобы Вы знали: о Вас помнят и здесь, далеко \
от Вас.

Сегодня утром на нашей улице выпал первый снег. Дети бежали в школу и ловили его варежками. Мне захотелось рассказать \
об этом именно Вам.

Если сможете, напишите, какая музыка Вам нравится. Мы разучим её с учениками.

Желаю Вам здоровья и сил."""


@dataclass
class SampleCatalog:
    """Campaigns, cases and totals for pages, in place of the catalog."""

    campaigns: dict[str, CampaignChanged] = field(default_factory=dict)
    cases: dict[str, CaseChanged] = field(default_factory=dict)
    totals: dict[str, TotalsChanged] = field(default_factory=dict)
    ready: bool = True


def campaign(**changes: object) -> CampaignChanged:
    """Return the sample campaign, with `changes`."""
    values: dict[str, object] = {
        "slug": SLUG,
        "version": 1,
        "title": {"en": "Letter marathon, ten cases", "fr": "Marathon des lettres, dix cas"},
        "opens": "2026-11-20T00:00:00Z",
        "closes": "2027-01-01T00:00:00Z",
        "confirmations_close": "2027-01-08T00:00:00Z",
        "goal": 6_500_000,
        "languages": ("en", "fr"),
        "policies": Policies(),
        "cases": tuple(slug for slug, *_ in SAMPLE_CASES),
        "organisation": "The organisation",
        "contact": CONTACT,
    }
    return CampaignChanged(**{**values, **changes})  # type: ignore[arg-type]


def case(slug: str = CASE, **changes: object) -> CaseChanged:
    """Return one of the sample cases, with `changes`."""
    name, country, occupation = next(
        (name, country, occupation) for key, name, country, _, occupation in SAMPLE_CASES if key == slug
    )
    values: dict[str, object] = {
        "slug": slug,
        "version": 1,
        "campaign": SLUG,
        "name": name,
        "country": country,
        "status": "detained",
        "summary": {"en": f"{occupation}. One of the ten cases of this letter marathon."},
        "story": {
            "en": f"{name} is here as a sample: no such person is meant.\n\n"
            "A letter takes ten minutes, a signature less than one. Each is counted once, kept with the class of "
            "proof it has, and carried to the people it is addressed to.\n\n"
            "Those who write need no special words. They say where they live, what the weather is like, and that "
            "somebody is thinking of them.",
            "fr": f"{name} est ici à titre d’exemple : personne n’est visé.\n\n"
            "Une lettre prend dix minutes, une signature moins d’une. Chacune est comptée une fois, gardée avec sa "
            "classe de preuve, et portée à ceux à qui elle s’adresse.\n\n"
            "Il ne faut pas de mots particuliers. On dit où l’on vit, le temps qu’il fait, et que quelqu’un pense "
            "à eux.",
        },
        "goal": 650_000,
        "facts": (("Work", occupation),),
        "address": ADDRESS,
        "writing": WRITING,
        "petition": Petition(
            slug=f"free-{slug}",
            version=1,
            title={"en": f"Free {name}.", "fr": f"Libérez {name}."},
            text={"en": "We ask for an immediate and unconditional release.\n\nWe ask for an inquiry."},
            targets=(Target(name="The Minister of Justice"), Target(name="The Prosecutor", role="Capital court")),
        ),
    }
    return CaseChanged(**{**values, **changes})  # type: ignore[arg-type]


def by_country() -> dict[str, int]:
    """Return the published country counts of a real petition; counts below ten are combined as `other`."""
    path = Path(__file__).parents[2] / "deploy" / "demo" / "data" / "petition-241584-2019-03-24.json"
    published = json.loads(path.read_bytes())["data"]["attributes"]["signatures_by_country"]
    counts = {"AQ" if row["code"] == "BAT" else row["code"]: int(row["signature_count"]) for row in published}
    listed = {code: count for code, count in counts.items() if count >= 10}
    return {**listed, "other": sum(counts.values()) - sum(listed.values())}


def totals(**changes: object) -> TotalsChanged:
    """Return consistent totals of the sample campaign, with `changes`."""
    countries = by_country()
    total = sum(countries.values())
    evidence = {"confirmed": 2_938_771, "offline": 812_570, "self_reported": 96_310}
    values: dict[str, object] = {
        "campaign": SLUG,
        "version": 812,
        "as_of": rfc3339(NOW - 0.4),
        "lag_seconds": 0.4,
        "state": "live",
        "total": total + evidence["self_reported"],
        "public_total": total,
        "goal": 6_500_000,
        "by_case": {slug: count for slug, _, _, count, _ in SAMPLE_CASES},
        "by_country": countries,
        "by_kind": {"signature": total - 732_134, "letter": 488_310, "solidarity_message": 243_824},
        "by_channel": {
            "web": total - 1_260_441,
            "in_person": 611_402,
            "post": 402_908,
            "email": 118_211,
            "social": 77_305,
            "api": 50_615,
        },
        "by_language": {"en": total - 205_317, "fr": 96_204, "es": 61_870, "de": 30_411, "ar": 9_820, "other": 7_012},
        "by_evidence": {**evidence, "recorded": total - evidence["confirmed"] - evidence["offline"]},
        "withdrawn": 412,
        "corrections": [],
        "ledger": {},
        "rate_per_minute": 2_275,
    }
    return TotalsChanged(**{**values, **changes})  # type: ignore[arg-type]


def correction() -> Correction:
    """Return a public record of a decrease."""
    return Correction(at="2026-11-29T08:30:00Z", change=-1_204, reason="The same paper sheets had been entered twice.")


def minutes(now: float = NOW) -> list[tuple[float, int]]:
    """Return (start, count) for each minute of the last hour, with some variation."""
    start = now // 60 * 60 - 59 * 60
    return [(start + index * 60, 2_050 + (index * 7_919) % 391 - (400 if index == 32 else 0)) for index in range(60)]


def sample_catalog() -> SampleCatalog:
    """Return a catalog with the sample campaign, its cases and totals."""
    return SampleCatalog(
        campaigns={SLUG: campaign()},
        cases={slug: case(slug) for slug, *_ in SAMPLE_CASES},
        totals={SLUG: totals()},
    )
