"""The schema of campaign files, and their faults with line and advice.

The format is under "A campaign file" in the contract.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from services.marathon.domain import campaign_rules
from services.marathon.domain.campaign_values import (
    AddressLine,
    Country,
    Date,
    Email,
    Goal,
    Language,
    Line,
    LocalizedLine,
    LocalizedLink,
    LocalizedText,
    Slug,
    Time,
)
from services.marathon.domain.yaml_lines import Fault, ParsedYaml, Path, parse
from shared.errors import MilleplumesError
from shared.events.values import MAX_PETITION_VERSION, Confirmation, Evidence, OnePer

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
MAX_CASES: Final = 10_000


class CampaignFileError(MilleplumesError):
    """A campaign file that cannot be imported; `faults` lists every fault in it, in order."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(set(faults), key=lambda fault: fault[0])
        super().__init__(f"{len(self.faults)} thing(s) to mend")


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PoliciesPart(_Part):
    """The policies. `public_evidence` is by default all evidence except `self_reported`, and except `recorded` where
    confirmation is required.
    """

    one_per: OnePer = "email"
    confirmation: Confirmation = "optional"
    public_evidence: Annotated[list[Evidence], Field(min_length=1)] | None = None
    public_threshold: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    letters_per_person: Annotated[int, Field(ge=1, le=1_000)] = 5
    safety_mode: bool = False


class SectionPart(_Part):
    """A partner organisation and its countries."""

    slug: Slug
    name: Line
    countries: list[Country] = []


class ContactPart(_Part):
    """The contact of the organisation, shown on the page /contact and at the foot of mails."""

    email: Email | None = None
    address: Annotated[list[AddressLine], Field(max_length=8)] = []
    imprint: LocalizedText | None = None
    privacy: LocalizedLink | None = None


class CampaignPart(_Part):
    """The campaign itself. `tallies_close` is until when paper may come in, `sealed_until` when sealed data goes."""

    slug: Slug
    title: LocalizedLine
    opens: Time
    closes: Time
    confirmations_close: Time | None = None
    tallies_close: Time | None = None
    sealed_until: Date | None = None
    goal: Goal | None = None
    languages: Annotated[list[Language], Field(min_length=1, max_length=100)]
    organisation: Line = ""
    contact: ContactPart | None = None
    policies: PoliciesPart = PoliciesPart()
    sections: Annotated[list[SectionPart], Field(max_length=500)] = []


class TargetPart(_Part):
    """An official to whom a petition is addressed."""

    name: Line
    role: Line = ""


class PetitionPart(_Part):
    """A petition; without a `version` it keeps its stored version, or gets the next one if the text differs."""

    slug: Slug
    version: Annotated[int, Field(ge=1, le=MAX_PETITION_VERSION)] | None = None
    title: LocalizedLine
    text: LocalizedText
    targets: Annotated[list[TargetPart], Field(max_length=100)] = []


class AddressPart(_Part):
    """The postal address for letters, line by line as on the envelope, whose window shows seven lines. `country` is by
    default the case's.
    """

    lines: Annotated[list[AddressLine], Field(min_length=1, max_length=7)]
    language: Language
    country: Country | None = None


class WritingPart(_Part):
    """What the receiving institution accepts. `rules` are short sentences for letter writers, by language."""

    languages: Annotated[list[Language], Field(max_length=20)] = []
    rules: dict[Language, Annotated[list[Line], Field(min_length=1, max_length=12)]] = {}


class CasePart(_Part):
    """A person or community for whom people act."""

    slug: Slug
    name: Line
    country: Country
    status: Line
    story: LocalizedText
    summary: LocalizedLine | None = None
    goal: Goal | None = None
    facts: dict[Line, Line] = {}
    petition: PetitionPart | None = None
    accepts_messages: bool = True
    address: AddressPart | None = None
    writing: WritingPart | None = None


class CampaignFile(_Part):
    """A campaign and its cases, every field checked."""

    campaign: CampaignPart
    cases: Annotated[list[CasePart], Field(min_length=1, max_length=MAX_CASES)]


def parse_campaign_file(text: str) -> tuple[CampaignFile, ParsedYaml]:
    """Parse the campaign file in `text`; return it with the line of every value.

    Raises:
        CampaignFileError: it cannot be imported; every fault is listed.
    """
    parsed = parse(text)
    faults = list(parsed.faults)
    file = None
    if parsed.value is not None or not faults:
        try:
            file = CampaignFile.model_validate(parsed.value if isinstance(parsed.value, dict) else {})
        except ValidationError as error:
            faults += [_fault(detail, parsed) for detail in error.errors()]
        faults += [Fault(parsed.line(path), path, text) for path, text in campaign_rules.rule_faults(parsed.value)]
    if faults or file is None:
        raise CampaignFileError(faults)
    return file, parsed


def _fault(error: ErrorDetails, parsed: ParsedYaml) -> Fault:
    # Pydantic reports a fault in a key of a mapping under ("name", "[key]").
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    return Fault(parsed.line(path), path, _advice(error, path))


def _advice(error: ErrorDetails, path: Path) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            advice = _unknown_field_advice(path)
        case "value_error":
            advice = str(context["error"])
        case "literal_error":
            advice = f"must be {context['expected']}"
        case error_type if error_type in _ADVICE:
            advice = _ADVICE[error_type]
        case _:
            advice = re.sub(r"^(Input|String|List|Dictionary) should", "must", error["msg"])
            advice = advice.replace(" after validation", "")
    return advice


_ADVICE: Final = {
    "missing": "is missing: add it",
    "string_unicode": "must not hold half of a character (a lone surrogate)",
    "string_type": "must be text: put it in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list, such as [a, b]",
    "dict_type": "must hold fields of its own, each as `name: value`",
    "model_type": "must hold fields of its own, each as `name: value`",
}
_FIELDS: Final[dict[str, list[str]]] = {
    "": list(CampaignFile.model_fields),
    "campaign": list(CampaignPart.model_fields),
    "contact": list(ContactPart.model_fields),
    "policies": list(PoliciesPart.model_fields),
    "sections": list(SectionPart.model_fields),
    "cases": list(CasePart.model_fields),
    "petition": list(PetitionPart.model_fields),
    "targets": list(TargetPart.model_fields),
    "address": list(AddressPart.model_fields),
    "writing": list(WritingPart.model_fields),
}


def _unknown_field_advice(path: Path) -> str:
    parent = next((name for name in reversed(path[:-1]) if isinstance(name, str)), "")
    names = _FIELDS.get(parent, [])
    near = get_close_matches(str(path[-1]), names, 1)
    return (
        f"is not a field here: did you mean {near[0]}?"
        if near
        else f"is not a field here; there are {', '.join(names)}"
    )
