"""The state of a form: its typed values and its errors."""

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
"""Fields in the order of the page, which is also the order of the error summary."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """An invalid field: its name in the form and the error code of the contract (`email.invalid`)."""

    name: str
    code: str


@dataclass(frozen=True, slots=True)
class FormState:
    """The typed values by field name, and the errors as (JSON pointer, code). Empty for a fresh form."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[tuple[str, str]] = ()

    def value(self, name: str) -> str:
        """Return the typed value, or an empty string."""
        return self.values.get(name, "")

    def ticked(self, name: str) -> bool:
        """Whether a box was ticked. Boxes are never ticked by default."""
        return self.value(name) not in ("", "false", "0", "off")

    def problem(self, name: str) -> FieldProblem | None:
        """Return the first problem of a field."""
        return next((problem for problem in self.problems() if problem.name == name), None)

    def problems(self) -> list[FieldProblem]:
        """Return one problem for each field, in the order of the page; problems of other fields come last."""
        first: dict[str, FieldProblem] = {}
        for pointer, code in self.errors:
            name = pointer.rsplit("/", 1)[-1]
            first.setdefault(name, FieldProblem(name, code))
        order = {name: index for index, name in enumerate(FIELDS)}
        return sorted(first.values(), key=lambda problem: order.get(problem.name, len(FIELDS)))
