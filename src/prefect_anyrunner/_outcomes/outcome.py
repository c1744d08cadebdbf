"""`Outcome`: what became of one task run."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.exceptions import CrashedRun

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._base.public import public
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._prefect.states import because, lost_state, unusable_state
from prefect_anyrunner._serialization.unpack import PortableError


@dataclass(frozen=True, eq=False, kw_only=True)
@public
class Outcome:
    """What became of one task run.

    `index` is its place in submission order, `path` its place in a nested argument: `("load", 3)` in `{"load": [...]}`.
    `map_index` is its place in the `map` that submitted it, None if none did or a stock runner does not record it.
    `error` is the member of a `TaskRunsFailed`: if FAILED, the exception that the body raised, else one of Prefect's
    (`CrashedRun`, `CancelledRun`, `UpstreamTaskError`, `UnfinishedRun`); None if COMPLETED. `upstream` names the runs
    to blame if BLOCKED. `inputs` are the arguments of a run that failed, crashed or was cancelled, as a short text
    without secrets; empty on stock runners.

    Two outcomes are equal if their place, run, status, value, and type and args of the error are equal (rule O2).
    Times, worker, runner and inputs are left out. A pickled outcome carries its value (fetched first, if it was lazy)
    and its error (a stand-in if it cannot travel). Its `state` has no data, because that would repeat value and error.
    """

    index: int = 0
    path: tuple[int | str, ...] = ()
    task_name: str
    task_run_id: UUID | None = None
    task_run_name: str | None = None
    status: Status
    state: State[Any] | None = field(default=None, repr=False)
    error: BaseException | None = None
    upstream: tuple[UUID, ...] = ()
    attempts: int = 1
    started: datetime | None = None
    ended: datetime | None = None
    worker: str | None = None
    runner: str | None = None
    map_index: int | None = None
    inputs: str = ""
    _value: Any = field(default=None, repr=False)

    @property
    def value(self) -> Any:
        """The value that the body returned; None unless COMPLETED.

        Raises `CannotTravel` if the value cannot be rebuilt here, `MissingResult` if it was lost with its worker.
        """
        held = self._value
        return held.get() if isinstance(held, LazyValue) else held

    def fetched(self) -> Outcome:
        """Return this outcome with its value fetched, or a CRASHED or FAILED one if it cannot be fetched."""
        if not isinstance(self._value, LazyValue):
            return self
        error: Exception
        state: State[Any]
        try:
            self._value.get()
        except CannotTravel as exc:
            status, error, state = Status.FAILED, exc, unusable_state(exc)
            state.data = exc
        except Exception as exc:
            state = lost_state(self.task_run_name, exc)
            status, error = Status.CRASHED, because(CrashedRun(state.message), exc)
            state.data = error
        else:
            return self
        if self.state is not None:
            state.state_details = self.state.state_details
        return replace(self, status=status, error=error, state=state, _value=None)

    def placed(self, index: int, path: tuple[int | str, ...]) -> Outcome:
        """Return this outcome at another place in an argument."""
        other = object.__new__(Outcome)
        vars(other).update(vars(self), index=index, path=path)  # `replace` takes six times as long
        return other

    @property
    def is_without_value(self) -> bool:
        """Whether the value is known to be unavailable: it was lost with its worker, or cannot be rebuilt."""
        return isinstance(self._value, LazyValue) and self._value.error is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcome):
            return NotImplemented
        if self is other:
            return True
        if self._facts() != other._facts() or not _same_error(self.error, other.error):
            return False
        if self._value is other._value:
            return True
        mine, its = self.fetched(), other.fetched()
        if mine is not self or its is not other:  # a kept value is lost, and its error says how
            return mine.status is its.status and _same_error(mine.error, its.error)
        return _same(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.task_run_id, self.index, self.path, self.status))

    def _facts(self) -> tuple[object, ...]:
        return (
            self.task_run_id,
            self.index,
            self.path,
            self.task_name,
            self.task_run_name,
            self.status,
            self.upstream,
            self.attempts,
        )

    def __getstate__(self) -> dict[str, Any]:
        fetched = self.fetched()
        kept = dict(fetched.__dict__, _value=fetched.value)
        if fetched.state is not None:
            kept["state"] = copy.copy(fetched.state)  # Prefect's model_copy would drop the timestamp
            kept["state"].data = None
        if fetched.error is not None:
            kept["error"] = PortableError(fetched.error)
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        error = kept["error"]
        if isinstance(error, PortableError):  # it was copied, and not pickled
            kept["error"] = error.error
        self.__dict__.update(kept)


def _same_error(one: BaseException | None, other: BaseException | None) -> bool:
    return one is other or (type(one) is type(other) and _same(getattr(one, "args", ()), getattr(other, "args", ())))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # an array has no truth value, and any __eq__ may raise: not known to be equal
        return False
