"""Plan who does what in one run, and the expected totals, from the published counts and the run's start alone.

Everything is a generator over numbers: five million people take no more memory than five thousand.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final, NamedTuple

from deploy.demo import published
from deploy.demo.people import FRENCH_IN, Person, person

MAX_SINGLES: Final = 5_000
MAX_LINKS_PRESSED: Final = 500
REPEATS_PER_HUNDRED: Final = 3
BATCH_ITEMS: Final = 1_000
BAD_ITEM_EVERY: Final = 10_000
"""The partner sends one item that must be refused per this many people."""
FORM_EVERY: Final = 10
"""One single post in this many is a plain HTML form."""
LETTERS: Final = 240
SOLIDARITY_MESSAGES: Final = 160
MESSAGE_LINKS_PRESSED: Final = 40
MESSAGE_COUNTRIES: Final = ("FR", "GB", "DE", "BE", "IT", "PT", "KE", "JP")


class Slugs(NamedTuple):
    """The names of one run's campaigns and cases."""

    campaign: str
    case: str
    petition: str
    letters_campaign: str
    letters_case: str


@dataclass(frozen=True)
class Plan:
    """One run.

    `run` is the run's start as digits for slugs and addresses, `started_at` the same as RFC 3339. `countries` has the
    number of people who sign, by country.
    """

    run: str
    started_at: str
    countries: dict[str, int]

    @cached_property
    def slugs(self) -> Slugs:
        names = ("demo", "replay", "petition", "demo-letters", "mara-ilven")
        return Slugs(*(f"{name}-{self.run}" for name in names))

    @cached_property
    def people(self) -> int:
        """The number of people who sign."""
        return sum(self.countries.values())

    @cached_property
    def singles(self) -> int:
        """The number of people who sign themselves, numbered from 0; the others sign through a partner."""
        return min(MAX_SINGLES, self.people // 2)

    @cached_property
    def links_pressed(self) -> int:
        """The number of singles who press the link in their mail, numbered from 0."""
        return min(MAX_LINKS_PRESSED, self.singles // 2)

    @cached_property
    def planned_repeats(self) -> int:
        """The number of posts by people who have signed before."""
        return _repeats(self.singles) + _repeats(self.people - self.singles)

    @cached_property
    def bad_items(self) -> int:
        """The number of the partner's items that must be refused."""
        sent = self.people - self.singles + _repeats(self.people - self.singles)
        return sum(1 for index in range(sent) if is_bad(index))

    @cached_property
    def mails(self) -> int:
        """The number of mails that this run must produce: one for each person who acted themselves."""
        return self.singles + LETTERS + SOLIDARITY_MESSAGES

    def signer(self, number: int) -> Person:
        """Return the person numbered `number`, from 0 to `people - 1`; consecutive numbers mix countries."""
        slot = number * self._step % self.people
        return person(number, self.run, self._codes[bisect_right(self._ends, slot)])

    def single_signers(self) -> Iterator[Person]:
        """Yield those who sign themselves, repeats included."""
        return (self.signer(number) for number, _ in _with_repeats(0, self.singles))

    def partner_signers(self) -> Iterator[Person]:
        """Yield those who sign through the partner. A repeat writes its address in capitals: the same mailbox."""
        for number, is_repeat in _with_repeats(self.singles, self.people):
            signer = self.signer(number)
            yield signer._replace(email=signer.email.upper()) if is_repeat else signer

    def writers(self) -> Iterator[tuple[str, Person]]:
        """Yield the kind of each message and its writer."""
        for number in range(LETTERS + SOLIDARITY_MESSAGES):
            country = MESSAGE_COUNTRIES[number % len(MESSAGE_COUNTRIES)]
            kind = "letter" if number < LETTERS else "solidarity_message"
            yield kind, person(number, self.run, country, role="writer")

    def expected_signatures(self) -> dict[str, dict[str, int]]:
        """Return the expected public maps of the first campaign's final totals."""
        french = sum(count for code, count in self.countries.items() if code in FRENCH_IN)
        partner = self.people - self.singles
        return {
            "by_case": {self.slugs.case: self.people},
            "by_country": dict(self.countries),
            "by_kind": {"signature": self.people},
            "by_channel": {"api": partner, "web": self.singles},
            "by_language": {"en": self.people - french, "fr": french},
            "by_evidence": {"confirmed": partner + self.links_pressed, "recorded": self.singles - self.links_pressed},
        }

    def expected_messages(self) -> dict[str, dict[str, int]]:
        """Return the expected public maps of the second campaign's final totals."""
        writers = [writer for _, writer in self.writers()]
        total = len(writers)
        return {
            "by_case": {self.slugs.letters_case: total},
            "by_country": dict(Counter(writer.country for writer in writers)),
            "by_kind": {"letter": LETTERS, "solidarity_message": SOLIDARITY_MESSAGES},
            "by_channel": {"web": total},
            "by_language": dict(Counter(writer.locale for writer in writers)),
            "by_evidence": {"confirmed": MESSAGE_LINKS_PRESSED, "recorded": total - MESSAGE_LINKS_PRESSED},
        }

    @cached_property
    def _codes(self) -> list[str]:
        return list(self.countries)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self.countries.values()))

    @cached_property
    def _step(self) -> int:
        # Near the golden ratio, neighbours land far apart; coprime to `people`, the step visits every slot once.
        step = max(1, int(self.people * 0.618))
        while math.gcd(step, self.people) != 1:
            step += 1
        return step


def make_plan(run: str, started_at: str, scale: int) -> Plan:
    """Plan a run at one in `scale` of the published counts."""
    return Plan(run, started_at, published.expected(scale))


def is_bad(index: int) -> bool:
    """Whether the partner sends a bad item before the good one at `index`, counted from 0."""
    return index % BAD_ITEM_EVERY == BAD_ITEM_EVERY // 2


def _repeats(people: int) -> int:
    return people * REPEATS_PER_HUNDRED // 100


def _with_repeats(first: int, end: int) -> Iterator[tuple[int, bool]]:
    """Yield the numbers from `first` to `end - 1` and, spread evenly, earlier ones again; with each, if it repeats."""
    people = end - first
    repeats = _repeats(people)
    done = 0
    for index in range(people):
        yield first + index, False
        if (index + 1) * repeats // people > done:
            done += 1
            yield first + index * 7919 % (index + 1), True
