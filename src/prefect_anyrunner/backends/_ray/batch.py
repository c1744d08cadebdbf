"""The runs that one Ray task carries, as the flow's process knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from prefect_ray.context import RemoteOptionsContext

from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner.backends._ray import store


class RayBatch:
    """One Ray task and its runs.

    `claims` is the prefix of the claims of its runs; if it has several, of no others. `update_key` is the key under
    which its worker leaves updates.
    """

    def __init__(self, sendings: Sequence[Sending], claims: str, update_key: str) -> None:
        self.runs = {claim: run for run, claim, _ in sendings}
        self.claims = claims
        self.update_key = update_key
        self.reference: Any = None  # Ray's own
        self.unbatched = len(sendings) == 1
        """Whether at most one run is unfinished, so that cancelling the Ray task hits no other run."""
        self.to_interrupt: set[UUID] = set()  # runs to interrupt as soon as the batch is `unbatched`

    def left(self) -> dict[str, Run]:
        """Return the runs that have neither ended nor been sent again, by their claims."""
        return {claim: run for claim, run in self.runs.items() if self.carries(run)}

    def carries(self, run: Run) -> bool:
        """Return whether this Ray task still has to report `run`."""
        return run.phase is Phase.SENT and self.runs.get(run.claim) is run

    def deletion_of_claims(self) -> Callable[[], None]:
        """Return a function that deletes the claims from Ray's store; it keeps nothing else of the batch alive."""
        if len(self.runs) > 1:
            return partial(store.delete_all, self.claims)
        return partial(store.delete, next(iter(self.runs)))


def by_options(runs: Iterable[Run]) -> Iterator[tuple[dict[str, Any], list[Run]]]:
    """Yield neighbours that have the same remote options together."""
    options: dict[str, Any] = {}
    same: list[Run] = []
    for run in runs:
        own = run.context.run(lambda: dict(RemoteOptionsContext.get().current_remote_options))
        if same and own != options:
            yield options, same
            same = []
        options = own
        same.append(run)
    if same:
        yield options, same
