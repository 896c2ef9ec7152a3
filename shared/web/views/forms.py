"""A form as it was typed, and what is to mend in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FIELDS = (
    "kind",
    "code",
    "text",
    "language",
    "given_name",
    "family_name",
    "email",
    "country",
    "postcode",
    "privacy",
    "updates",
    "public_name",
)
"""Fields in the order in which they stand on a page; the summary of errors follows it."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field to mend: its name in the form and the code of contract errors (`email.invalid`)."""

    name: str
    code: str


@dataclass(frozen=True, slots=True)
class FormState:
    """What a person typed, by field name, and the errors as (JSON pointer, code). Empty for a fresh form."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[tuple[str, str]] = ()

    def value(self, name: str) -> str:
        """What was typed, or nothing."""
        return self.values.get(name, "")

    def ticked(self, name: str) -> bool:
        """Whether a box came back ticked. Boxes are never ticked beforehand."""
        return self.value(name) not in ("", "false", "0", "off")

    def problem(self, name: str) -> FieldProblem | None:
        """The first thing to mend in a field."""
        return next((problem for problem in self.problems() if problem.name == name), None)

    def problems(self) -> list[FieldProblem]:
        """One problem for each field, in the order of the page; what belongs to no field of it comes last."""
        first: dict[str, FieldProblem] = {}
        for pointer, code in self.errors:
            name = pointer.rsplit("/", 1)[-1]
            first.setdefault(name, FieldProblem(name, code))
        order = {name: place for place, name in enumerate(FIELDS)}
        return sorted(first.values(), key=lambda problem: order.get(problem.name, len(FIELDS)))
