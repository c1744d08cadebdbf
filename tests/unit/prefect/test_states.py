"""A Prefect state means the same to every part of this package: its status, its value, its error."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UpstreamTaskError
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._prefect.private import ResultRecord, ResultRecordMetadata
from prefect_anyrunner._prefect.states import (
    because,
    data_of,
    error_of,
    error_of_message,
    held_error,
    result_of,
    status_of,
    upstream_in,
    with_data,
)

FINAL: list[tuple[State[Any], Status, type[Exception] | None]] = [
    (Completed(message="m"), Status.COMPLETED, None),
    (Failed(message="m"), Status.FAILED, FailedRun),
    (Crashed(message="m"), Status.CRASHED, CrashedRun),
    (Cancelled(message="m"), Status.CANCELLED, CancelledRun),
    (State(type=StateType.PENDING, name="NotReady", message="m"), Status.BLOCKED, UpstreamTaskError),
]
OPEN: list[State[Any]] = [Pending(), Running(), Scheduled(), Cancelling(), Paused()]


def stored(value: Any) -> Any:
    metadata = ResultRecordMetadata(storage_key="key", serializer={"type": "pickle"})  # type: ignore[arg-type]
    return ResultRecord(metadata=metadata, result=value)


@pytest.mark.parametrize(("state", "status", "kind"), FINAL, ids=[status for _, status, _ in FINAL])
def test_a_state_means_one_status_and_one_error(
    state: State[Any], status: Status, kind: type[Exception] | None
) -> None:
    assert status_of(state) is status
    error = error_of_message(state)
    assert (type(error), str(error)) == (kind, "m") if kind is not None else error is None


@pytest.mark.parametrize("state", [None, *OPEN], ids=lambda state: state and state.type.value)
def test_a_state_that_is_not_final_is_unfinished(state: State[Any] | None) -> None:
    assert status_of(state) is Status.UNFINISHED
    assert error_of_message(state) is None
    assert state is None or error_of(state) is None


def test_the_text_of_a_failed_run_is_that_of_its_exception() -> None:
    error = error_of_message(Failed(message="Task run encountered an exception ValueError: no such day"))
    assert (type(error), str(error)) == (FailedRun, "ValueError: no such day")


@pytest.mark.parametrize("data", [5, stored(5)], ids=["at hand", "stored"])
def test_the_value_of_a_completed_state_is_taken_out_of_its_record(data: Any) -> None:
    state: State[Any] = Completed(data=data)
    assert data_of(state) == result_of(state) == 5


@pytest.mark.parametrize("wrap", [lambda error: error, stored], ids=["at hand", "stored"])
def test_the_error_of_a_failed_state_is_the_one_that_it_holds(wrap: Any) -> None:
    error = ValueError("boom")
    state: State[Any] = Failed(data=wrap(error))
    assert error_of(state) is error
    assert held_error(state) is error


def test_a_state_with_strange_data_stands_for_an_error_of_prefects() -> None:
    for make, kind in ((Failed, FailedRun), (Crashed, CrashedRun), (Cancelled, CancelledRun)):
        error = error_of(make(message="m", data=object()))
        assert (type(error), str(error)) == (kind, "m")
        assert isinstance(error, kind) and isinstance(error.__cause__, TypeError)
        assert held_error(make(data=object())) is None


def test_a_copy_with_other_data_leaves_the_state_as_it_is() -> None:
    state: State[Any] = Completed(data=1)
    copied = with_data(state, None)
    assert (copied.data, state.data, copied.id, copied.timestamp) == (None, 1, state.id, state.timestamp)


def test_the_upstream_run_is_read_from_prefects_sentence() -> None:
    run_id = uuid4()
    assert upstream_in(f"Upstream task run '{run_id}' did not reach a 'COMPLETED' state.") == (run_id,)
    assert upstream_in("Something else.") == ()


def test_because_is_raise_from() -> None:
    cause = ValueError("root")
    error = because(CrashedRun("text"), cause)
    assert (error.__cause__, error.__suppress_context__) == (cause, True)
