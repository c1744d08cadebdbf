"""The table of rules: one `Case` per promise that holds on every runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backends import Capability

if TYPE_CHECKING:
    from ._subject import Subject

    Body = Callable[[Subject], None]


@dataclass(frozen=True)
class Case:
    """One promise and how it is checked.

    `id`: `"C2-killed"`, its rule first. `sentence`: the promise in one English sentence. `body`: called with the runner
    under test; raises AssertionError when the promise is broken. `needs`: what the backend must be able to do for the
    case to make sense; where it declares a lack, the case is skipped with the declared reason. `only`: the one backend
    that the case is about, or None for all.
    """

    id: str
    rule: str
    sentence: str
    body: Body
    needs: tuple[Capability, ...] = ()
    only: str | None = None


CASES: list[Case] = []


def case(
    id: str, sentence: str, *, needs: tuple[Capability, ...] = (), only: str | None = None
) -> Callable[[Body], Body]:
    """Put a body into the table under `id`, whose part before the first `-` is the rule."""

    def put(body: Body) -> Body:
        CASES.append(Case(id, id.partition("-")[0], sentence, body, needs, only))
        return body

    return put
