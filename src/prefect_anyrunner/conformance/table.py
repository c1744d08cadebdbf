"""The table of rules: one `Case` per promise that holds on every runner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_anyrunner.backends import Capability

if TYPE_CHECKING:
    from prefect_anyrunner.conformance.subject import Subject

    Body = Callable[[Subject], None]


RULES = {
    "O1": "outcomes in submission order, shape kept",
    "O2": "settling again gives the same, later too",
    "F1": "an exception arrives as itself",
    "F2": "... whatever its `__init__` takes",
    "F3": "... a group with all its members",
    "F4": "one that cannot travel arrives as a stand-in",
    "F5": "a task's own TimeoutError and the like are its own",
    "F6": "retries, timeouts, returned states, hooks",
    "C1": "SystemExit and own BaseExceptions crash one run",
    "C2": "a dead worker takes one run",
    "C3": "what completed never runs again",
    "C4": "`rerun_lost` alone runs a lost run again",
    "S1": "the API shows what happened",
    "S2": "... as soon as the flow has ended, however fast",
    "V1": "what cannot travel fails its run, by name",
    "V2": "tasks have no memory of the flow's process",
    "U1": "upstream failures block, root named",
    "U2": "`allow_failure`, `unmapped`, `quote`, `opaque`",
    "U3": "futures of other runners as arguments",
    "N1": "tasks that submit and wait for tasks",
    "X1": "tags, names, caches, assets, limits per submit",
    "W1": "`wait`, `result`, `state`, callbacks agree",
    "K1": "`cancel()`",
    "E1": "nothing lost when a flow ends early",
    "E2": "what a flow returned can be settled",
    "L1": "`duplicate()` and clusters kept",
    "A1": "async flows and tasks",
}
"""The rules, in the order in which they are run and shown."""


@dataclass(frozen=True)
class Case:
    """One promise and how it is checked.

    `id`: the rule, then a name, such as `"C2-all-die"`. `sentence`: the promise in one English sentence. `body`: called
    with the runner under test; raises AssertionError when the promise is broken. `needs`: the capabilities without
    which the case is skipped, with the reason that the backend declares. `only`: the one backend that the case is
    about, or None for all.
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
    """Add a body to the table under `id`; the part of `id` before the first `-` is the rule."""

    def add(body: Body) -> Body:
        CASES.append(Case(id, id.partition("-")[0], sentence, body, needs, only))
        return body

    return add
