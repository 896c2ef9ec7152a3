"""What the fields of a campaign file must be to one another.

These rules read the file's plain data and pass over whatever has a wrong shape, so that one fault in a file does not
hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from services.marathon.domain.disclosure import NO_SECTION
from services.marathon.domain.yaml_lines import Path, Value
from shared.clock import parse_rfc3339

Fault = tuple[Path, str]
SAFE_THRESHOLD: Final = 10
"""The least threshold in safety mode: its totals move in steps of it."""


def faults(file: Value) -> Iterator[Fault]:
    """Everything in `file` that contradicts something else in it."""
    campaign = _mapping(_get(file, "campaign"))
    yield from _times(campaign)
    yield from _policies(_mapping(campaign.get("policies")))
    yield from _twice(campaign.get("languages"), ("campaign", "languages"))
    yield from _sections(campaign)
    yield from _slugs(file)
    yield from _languages(file, campaign)
    yield from _writing(file)


def _times(campaign: dict[str, Value]) -> Iterator[Fault]:
    opens, closes, confirmations = (_time(campaign.get(name)) for name in ("opens", "closes", "confirmations_close"))
    if opens is not None and closes is not None and closes <= opens:
        yield ("campaign", "closes"), "must be later than opens"
    if closes is not None and confirmations is not None and confirmations < closes:
        yield ("campaign", "confirmations_close"), "must not be earlier than closes"


def _policies(policies: dict[str, Value]) -> Iterator[Fault]:
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
    yield from _twice(evidence, (*at, "public_evidence"))
    if policies.get("safety_mode") is not True:
        return
    if not required:
        yield (*at, "safety_mode"), "needs confirmation: required"
    threshold = policies.get("public_threshold", SAFE_THRESHOLD)
    if isinstance(threshold, int) and threshold < SAFE_THRESHOLD:
        yield (*at, "public_threshold"), f"must be at least {SAFE_THRESHOLD} in safety mode"


def _sections(campaign: dict[str, Value]) -> Iterator[Fault]:
    sections = list(enumerate(_list(campaign.get("sections"))))
    yield from _unique(
        ((("campaign", "sections", place, "slug"), _get(section, "slug")) for place, section in sections),
        "is the slug of another section too",
    )
    for place, section in sections:
        if _get(section, "slug") == NO_SECTION:
            yield ("campaign", "sections", place, "slug"), "stands for no section in the totals: choose another"
    yield from _unique(
        (
            (("campaign", "sections", place, "countries", index), country)
            for place, section in sections
            for index, country in enumerate(_list(_get(section, "countries")))
        ),
        "belongs to another section too: a country has one",
    )


def _slugs(file: Value) -> Iterator[Fault]:
    cases = list(enumerate(_list(_get(file, "cases"))))
    yield from _unique(
        ((("cases", place, "slug"), _get(case, "slug")) for place, case in cases), "is the slug of another case too"
    )
    yield from _unique(
        ((("cases", place, "petition", "slug"), _get(_get(case, "petition"), "slug")) for place, case in cases),
        "is the slug of another petition too",
    )


def _languages(file: Value, campaign: dict[str, Value]) -> Iterator[Fault]:
    languages = [language for language in _list(campaign.get("languages")) if isinstance(language, str)]
    if not languages:
        return
    texts: list[tuple[Path, Value]] = [(("campaign", "title"), campaign.get("title"))]
    contact = campaign.get("contact")
    texts += [(("campaign", "contact", name), _get(contact, name)) for name in ("imprint", "privacy")]
    for place, case in enumerate(_list(_get(file, "cases"))):
        texts += [(("cases", place, name), _get(case, name)) for name in ("story", "summary")]
        texts.append((("cases", place, "writing", "rules"), _get(_get(case, "writing"), "rules")))
        petition = _get(case, "petition")
        texts += [(("cases", place, "petition", name), _get(petition, name)) for name in ("title", "text")]
    for path, text in texts:
        if isinstance(text, dict) and text and not text.keys() & set(languages):
            yield path, f"must be there in one of the campaign's languages ({', '.join(languages)})"


def _writing(file: Value) -> Iterator[Fault]:
    for place, case in enumerate(_list(_get(file, "cases"))):
        yield from _twice(_get(_get(case, "writing"), "languages"), ("cases", place, "writing", "languages"))
        if _get(case, "address") is not None and _get(case, "accepts_messages") is False:
            yield ("cases", place, "address"), "must not be given where accepts_messages is false: nobody is to write"


def _unique(found: Iterable[tuple[Path, Value]], text: str) -> Iterator[Fault]:
    seen = set()
    for path, value in found:
        if not isinstance(value, str):
            continue
        if value in seen:
            yield path, text
        seen.add(value)


def _twice(values: Value, at: Path) -> Iterator[Fault]:
    yield from _unique((((*at, place), value) for place, value in enumerate(_list(values))), "stands here twice")


def _time(value: Value) -> float | None:
    return _or_none(parse_rfc3339, value) if isinstance(value, str) else None


def _or_none(read: Callable[[str], float], text: str) -> float | None:
    try:
        return read(text)
    except ValueError:
        return None


def _get(value: Value, name: str) -> Value:
    return value.get(name) if isinstance(value, dict) else None


def _mapping(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []
