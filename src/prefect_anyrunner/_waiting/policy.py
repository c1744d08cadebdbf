"""How many failures are too many, and what happens then: `FailurePolicy`."""

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
    """The number of failures that still count as success, and the reaction once more runs have failed.

    `tolerate` is a count (`3`) or a percentage of all runs as text (`"5%"`, `"0.5%"`) of root failures: runs that
    failed, crashed or were cancelled by others, not those that were merely blocked by them. A percentage is rounded
    down to whole runs. `then` is the reaction as soon as success has become impossible: `"finish"` lets all runs go on,
    `"drain"` starts no more runs and lets the running ones finish, `"cancel"` also stops the running ones. In each case
    the wait goes on until all runs have ended.

    Futures of the stock runners have no `cancel()`. The stock thread and process runners can withdraw runs that have
    not started; their running ones, and all runs on stock Dask and Ray, run to their end.

    Raises `ValueError` if a field has any other value; the text names both fields if both are wrong.
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
        """Return the policy that `text` describes, such as `"tolerate=5%,then=cancel"`; either part may be missing.

        Raises `ValueError` with all problems at once.
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
        """Return the number of runs that may fail out of `total`."""
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
    """Return the policy that a `policy` argument stands for: itself, its text, or the default for None."""
    if policy is None:
        return FailurePolicy()
    if isinstance(policy, str):
        return FailurePolicy.parse(policy)
    if isinstance(policy, FailurePolicy):
        return policy
    raise TypeError(f"policy must be a FailurePolicy or its text, such as 'tolerate=5%,then=cancel', not {policy!r}")
