"""Rules between the fields of a campaign file.

They read the file's plain data and skip values of a wrong type, so that one fault in a file does not hide the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from services.marathon.domain.disclosure import NO_SECTION
from services.marathon.domain.yaml_lines import Path, Value
from shared.clock import parse_rfc3339, rfc3339

RuleFault = tuple[Path, str]
CONFIRMATION_PERIOD_S: Final = 7 * 24 * 60 * 60
"""How long after its end a campaign accepts confirmations, unless its file sets a time."""
DATE_CHARACTERS: Final = len("2028-12-31")
MIN_SAFETY_MODE_THRESHOLD: Final = 10
"""The lowest threshold in safety mode, in which totals move in steps of it."""


def rule_faults(file: Value) -> Iterator[RuleFault]:
    """Yield every contradiction between fields of `file`."""
    campaign = _mapping(_get(file, "campaign"))
    yield from _times(campaign)
    yield from _policies(_mapping(campaign.get("policies")))
    yield from _duplicates(campaign.get("languages"), ("campaign", "languages"))
    yield from _sections(campaign)
    yield from _slugs(file)
    yield from _languages(file, campaign)
    yield from _writing(file)


def _times(campaign: dict[str, Value]) -> Iterator[RuleFault]:
    names = ("opens", "closes", "confirmations_close", "tallies_close")
    opens, closes, confirmations, tallies = (_time(campaign.get(name)) for name in names)
    if opens is not None and closes is not None and closes <= opens:
        yield ("campaign", "closes"), "must be later than opens"
    if closes is None:
        return
    if confirmations is None:
        confirmations = closes + CONFIRMATION_PERIOD_S
    elif confirmations < closes:
        yield ("campaign", "confirmations_close"), "must not be earlier than closes"
    if tallies is not None and tallies < confirmations:
        yield (
            ("campaign", "tallies_close"),
            f"must not be earlier than confirmations_close, which is {rfc3339(confirmations)}",
        )
    sealed_until, last_day = campaign.get("sealed_until"), rfc3339(confirmations)[:DATE_CHARACTERS]
    if isinstance(sealed_until, str) and sealed_until <= last_day:
        yield (
            ("campaign", "sealed_until"),
            f"must be later than {last_day}, the day of confirmations_close: what people sent is needed until then",
        )


def _policies(policies: dict[str, Value]) -> Iterator[RuleFault]:
    at: Path = ("campaign", "policies")
    evidence = _list(policies.get("public_evidence"))
    required = policies.get("confirmation") == "required"
    if required and "recorded" in evidence:
        yield (
            (*at, "public_evidence"),
            "must not hold recorded where confirmation is required: only confirmed actions are public then",
        )
    elif "recorded" in evidence and "confirmed" not in evidence:
        yield (
            (*at, "public_evidence"),
            "must hold confirmed where it holds recorded: whoever confirms would leave the public total. Add confirmed",
        )
    yield from _duplicates(evidence, (*at, "public_evidence"))
    if policies.get("safety_mode") is not True:
        return
    if not required:
        yield (*at, "safety_mode"), "needs confirmation: required"
    threshold = policies.get("public_threshold", MIN_SAFETY_MODE_THRESHOLD)
    if isinstance(threshold, int) and threshold < MIN_SAFETY_MODE_THRESHOLD:
        yield (*at, "public_threshold"), f"must be at least {MIN_SAFETY_MODE_THRESHOLD} in safety mode"


def _sections(campaign: dict[str, Value]) -> Iterator[RuleFault]:
    sections = list(enumerate(_list(campaign.get("sections"))))
    yield from _unique(
        ((("campaign", "sections", index, "slug"), _get(section, "slug")) for index, section in sections),
        "is the slug of another section too",
    )
    for index, section in sections:
        if _get(section, "slug") == NO_SECTION:
            yield ("campaign", "sections", index, "slug"), "stands for no section in the totals: choose another"
    yield from _unique(
        (
            (("campaign", "sections", section_index, "countries", country_index), country)
            for section_index, section in sections
            for country_index, country in enumerate(_list(_get(section, "countries")))
        ),
        "belongs to another section too: a country has one",
    )


def _slugs(file: Value) -> Iterator[RuleFault]:
    cases = list(enumerate(_list(_get(file, "cases"))))
    yield from _unique(
        ((("cases", index, "slug"), _get(case, "slug")) for index, case in cases), "is the slug of another case too"
    )
    yield from _unique(
        ((("cases", index, "petition", "slug"), _get(_get(case, "petition"), "slug")) for index, case in cases),
        "is the slug of another petition too",
    )


def _languages(file: Value, campaign: dict[str, Value]) -> Iterator[RuleFault]:
    languages = [language for language in _list(campaign.get("languages")) if isinstance(language, str)]
    if not languages:
        return
    texts: list[tuple[Path, Value]] = [(("campaign", "title"), campaign.get("title"))]
    contact = campaign.get("contact")
    texts += [(("campaign", "contact", name), _get(contact, name)) for name in ("imprint", "privacy")]
    for index, case in enumerate(_list(_get(file, "cases"))):
        texts += [(("cases", index, name), _get(case, name)) for name in ("story", "summary")]
        texts.append((("cases", index, "writing", "rules"), _get(_get(case, "writing"), "rules")))
        petition = _get(case, "petition")
        texts += [(("cases", index, "petition", name), _get(petition, name)) for name in ("title", "text")]
    for path, text in texts:
        if isinstance(text, dict) and text and not text.keys() & set(languages):
            yield path, f"must be there in one of the campaign's languages ({', '.join(languages)})"


def _writing(file: Value) -> Iterator[RuleFault]:
    for index, case in enumerate(_list(_get(file, "cases"))):
        yield from _duplicates(_get(_get(case, "writing"), "languages"), ("cases", index, "writing", "languages"))
        if _get(case, "address") is not None and _get(case, "accepts_messages") is False:
            yield ("cases", index, "address"), "must not be given where accepts_messages is false: nobody is to write"


def _unique(entries: Iterable[tuple[Path, Value]], text: str) -> Iterator[RuleFault]:
    seen = set()
    for path, value in entries:
        if not isinstance(value, str):
            continue
        if value in seen:
            yield path, text
        seen.add(value)


def _duplicates(values: Value, at: Path) -> Iterator[RuleFault]:
    yield from _unique((((*at, index), value) for index, value in enumerate(_list(values))), "stands here twice")


def _time(value: Value) -> float | None:
    try:
        return parse_rfc3339(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _get(value: Value, name: str) -> Value:
    return value.get(name) if isinstance(value, dict) else None


def _mapping(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []
