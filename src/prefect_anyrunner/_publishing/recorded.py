"""Questions to the Prefect API about which of the published changes it has recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    TaskRunFilter,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateName,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._prefect.api import by_id
from prefect_anyrunner._prefect.models import copy_with
from prefect_anyrunner._prefect.states import status_of
from prefect_anyrunner._publishing.change import Change


def count_recorded(client: SyncPrefectClient, changes: Iterable[Change]) -> int:
    """Return how many of these changes, of different runs, the API has recorded: one count for each kind of state.

    An end counts as recorded when the run has a final state of the same type; any other change when the run is there.
    Raises `httpx.HTTPError`.
    """
    kinds: dict[tuple[StateType, str | None] | None, list[UUID]] = {}
    for change in changes:
        kinds.setdefault(_kind(change), []).append(change.run_id)
    return sum(_count(client, kind, ids) for kind, ids in kinds.items())


def missing_ends(client: SyncPrefectClient, changes: Sequence[Change]) -> list[Change]:
    """Return the ends among `changes` that the API has not recorded. Raises `httpx.HTTPError`.

    The API ignores an end that is older than the state that it has: a worker that is being stopped may still publish
    one. Such an end gets a later time.
    """
    states = {run.id: run.state for run in by_id(client, [change.run_id for change in changes])}
    # An end other than ours counts, too, because a user has set it.
    return [
        _later_than(states.get(change.run_id), change)
        for change in changes
        if status_of(states.get(change.run_id)) is Status.UNFINISHED
    ]


def _later_than(state: State[Any] | None, change: Change) -> Change:
    if state is None or state.timestamp < change.state.timestamp:
        return change
    new = change.renewed()
    after = state.timestamp + timedelta(microseconds=1)
    return replace(new, state=copy_with(new.state, {"timestamp": after}), follows=False)


def _kind(change: Change) -> tuple[StateType, str | None] | None:
    if not change.is_end:
        return None
    # Prefect calls the state of a blocked run Pending, which every run is at first; only its name tells them apart.
    return change.state.type, None if change.state.is_final() else change.state.name


def _count(client: SyncPrefectClient, kind: tuple[StateType, str | None] | None, ids: list[UUID]) -> int:
    state = None
    if kind is not None:
        name = TaskRunFilterStateName(any_=[kind[1]]) if kind[1] is not None else None
        state = TaskRunFilterState(type=TaskRunFilterStateType(any_=[kind[0]]), name=name)
    asked = TaskRunFilter(id=TaskRunFilterId(any_=ids), state=state)
    answer: Any = client.request("POST", "/task_runs/count", json={"task_runs": asked.model_dump(mode="json")})
    return int(answer.json())
