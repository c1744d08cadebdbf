"""The private names of Prefect that have no public twin, all in one place.

`tests/unit/prefect/test_prefect_names.py` fails when one moves.
`create_task_run` builds the local `TaskRun` as Prefect's own engine does (name, keys, inputs, parents, tags);
its public twin, `Task.create_local_run`, is asynchronous and opens a client for each call.
`initialize_process_worker` connects a process worker's events and logs as the stock runner does.
`ResultRecord` and its metadata are what a state holds when the result is stored.
`result_in` and `error_in` read a state in the calling thread: without `_sync` Prefect decides by the running event loop
whether they are coroutines. `final_state` is what a future of Prefect's has found out for good, read without asking the
API. Attributes of the stock runners that the subclasses in `backends` use are in the test, too.
`unsent_events` looks into the queue of the thread that sends events, which publicly can only be waited for without end.
`raise_if_suspended` is what every future of Prefect calls after a wait, so that a suspended flow run stops there.
"""

from __future__ import annotations

from typing import Any

from prefect._flow_run_suspension import (
    raise_if_flow_run_suspension_requested as raise_if_suspended,
)
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.states import get_state_exception
from prefect.task_engine import _create_task_run_locally as create_task_run
from prefect.task_runners import _initialize_process_pool_worker as initialize_process_worker

__all__ = [
    "ResultRecord",
    "ResultRecordMetadata",
    "create_task_run",
    "error_in",
    "final_state",
    "initialize_process_worker",
    "raise_if_suspended",
    "result_in",
    "unsent_events",
]


def result_in(state: State[Any], *, raise_on_failure: bool = True) -> Any:
    """Return what a state holds or refers to; raise what `State.result` raises."""
    return state.result(raise_on_failure=raise_on_failure, _sync=True)  # type: ignore[call-overload]


def error_in(state: State[Any]) -> BaseException:
    """Return the exception that a failed, crashed or cancelled state stands for; raise if it stands for none."""
    error: BaseException = get_state_exception(state, _sync=True)  # type: ignore[call-arg,assignment]
    return error


def final_state(future: Any) -> State[Any] | None:
    """Return the state that a future has ended in, as far as it knows by itself."""
    state = getattr(future, "_final_state", None)
    return state if isinstance(state, State) else None


def unsent_events() -> int:
    """Return how many events this process has emitted and not yet sent."""
    return EventsWorker.instance()._queue.qsize()
