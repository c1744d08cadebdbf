"""When failures are too many, and what happens then: `FailurePolicy`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from prefect_anyrunner._base.public import public

Then = Literal["finish", "drain", "cancel"]


@dataclass(frozen=True)
@public
class FailurePolicy:
    """How many failures are still a success, and what to do once more have failed.

    `tolerate` is a count (`3`) or a percentage of all runs as text (`"5%"`, `"0.5%"`) of root failures: runs that
    failed, crashed or were cancelled by others, not those that were merely blocked by them. A percentage is rounded
    down to runs. `then` says what happens as soon as success has become impossible: `"finish"` lets everything run,
    `"drain"` starts nothing new and lets what runs finish, `"cancel"` also stops what runs. Either way the wait goes
    on to the end.

    Futures of the stock runners have no `cancel()`. On the stock thread and process runners what has not started is
    withdrawn; what runs there, and everything on stock Dask and Ray, runs to its end.

    Raises `ValueError` when a field is neither of these, naming both at once.
    """

    tolerate: int | str = 0
    then: Then = "finish"

    def __post_init__(self) -> None:
        problems = [*_tolerate_problems(self.tolerate)]
        if self.then not in get_args(Then):
            problems.append(f"then must be 'finish', 'drain' or 'cancel', not {self.then!r}")
        if problems:
            raise ValueError("; ".join(problems))

    @classmethod
    def parse(cls, text: str) -> FailurePolicy:
        """Return the policy that `text` says, `"tolerate=5%,then=cancel"`; either part may be missing.

        Raises `ValueError`, naming everything that is wrong at once.
        """
        fields: dict[str, str] = {}
        problems: list[str] = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or name not in ("tolerate", "then"):
                problems.append(f"{part!r} is neither tolerate=COUNT, tolerate=N% nor then=finish|drain|cancel")
            elif name in fields:
                problems.append(f"{name} is given twice")
            else:
                fields[name] = value
        tolerate: int | str = fields.get("tolerate", "0")
        if isinstance(tolerate, str) and re.fullmatch(r"[0-9]+", tolerate):
            tolerate = int(tolerate)
        then = fields.get("then", "finish")
        try:
            policy = cls(tolerate, then)  # type: ignore[arg-type]  # checked in __post_init__
        except ValueError as problem:
            problems.append(str(problem))
        if problems:
            raise ValueError(f"failure policy {text!r}: " + "; ".join(problems))
        return policy

    def allowed(self, total: int) -> int:
        """Return how many of `total` runs may fail."""
        if isinstance(self.tolerate, int):
            return self.tolerate
        return int(total * Fraction(self.tolerate.removesuffix("%").strip()) / 100)

    def __str__(self) -> str:
        return f"tolerate={self.tolerate},then={self.then}"


def _tolerate_problems(value: object) -> list[str]:
    if isinstance(value, int) and not isinstance(value, bool):
        return [f"tolerate must not be negative, not {value}"] if value < 0 else []
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?\s*%", value):
        if Fraction(value.removesuffix("%").strip()) > 100:
            return [f"tolerate must be at most 100%, not {value!r}"]
        return []
    return [f"tolerate must be a count or a percentage such as '5%', not {value!r}"]


def as_policy(policy: FailurePolicy | str | None) -> FailurePolicy:
    """Return the policy that an argument says: itself, its text, or the default for None."""
    if policy is None:
        return FailurePolicy()
    if isinstance(policy, str):
        return FailurePolicy.parse(policy)
    if isinstance(policy, FailurePolicy):
        return policy
    raise TypeError(f"policy must be a FailurePolicy or its text, such as 'tolerate=5%,then=cancel', not {policy!r}")
