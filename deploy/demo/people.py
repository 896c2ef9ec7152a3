"""Invented people, each derived from a number alone, so that none has to be stored."""

from __future__ import annotations

from typing import Final, NamedTuple

GIVEN_NAMES: Final = (
    "Ana", "Bruno", "Chloé", "Dagny", "Émile", "Fatou", "Gwen", "Héctor", "Iñigo", "Jūratė", "Kwame", "Łucja",
    "Марыя", "Янка", "Ольга", "Тимур", "Айгүл", "Νίκη", "Άρης", "Նարե", "ნინო", "مريم", "يوسف", "شیرین",
    "Siân", "Thuỳ", "Zoë", "अनन्या", "রূপা", "தமிழ்", "美咲", "志强", "지우", "Ayşe", "Nnedi", "O'Hara",
)  # fmt: skip
FAMILY_NAMES: Final = (
    "Almeida", "Brandt", "Čapek", "D'Amico", "Eriksen", "Fofana", "García-Ruiz", "Horváth", "Ibarra", "Jansen",
    "Kowalczyk", "Lefèvre", "Мельник", "Каваль", "Соколова", "Бекова", "Παππά", "Սարյան", "ბერიძე", "حداد",
    "منصور", "Nguyễn", "Okonkwo", "Şahin", "शर्मा", "সেন", "佐藤", "王", "김", "van den Berg",
)  # fmt: skip
DOMAINS: Final = ("example.org", "example.net", "example.com")
"""Reserved by RFC 2606: no mail can reach anybody."""
FRENCH_IN: Final = frozenset(("FR", "BE", "CH", "LU", "MC", "SN", "CI", "ML", "BF", "NE", "TG", "BJ", "GA", "CD", "HT"))
"""Where the demo's people read French; elsewhere English."""
_SPREAD: Final = 2_654_435_761


class Person(NamedTuple):
    """A person who does not exist."""

    given_name: str
    family_name: str
    email: str
    country: str
    locale: str


def person(number: int, run: str, country: str, role: str = "signer") -> Person:
    """Return person `number` of the run that began at `run`; the same arguments give the same person."""
    mixed = (number * _SPREAD) & 0xFFFFFFFF
    return Person(
        given_name=GIVEN_NAMES[mixed % len(GIVEN_NAMES)],
        family_name=FAMILY_NAMES[(mixed >> 8) % len(FAMILY_NAMES)],
        email=f"{role}.{number}.{run}@{DOMAINS[number % len(DOMAINS)]}",
        country=country,
        locale="fr" if country in FRENCH_IN else "en",
    )
