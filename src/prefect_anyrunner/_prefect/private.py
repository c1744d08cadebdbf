"""Every private name of Prefect that we import or read, because none of them has a public equivalent.

    create_task_run            builds a local `TaskRun` as Prefect's engine does: name, keys, inputs, parents, tags.
                               `Task.create_local_run` is asynchronous, and opens a client for each call.
    initialize_process_worker  connects a process worker's events and logs as the stock runner does.
    ResultRecord               holds a result that is stored, in a state; `ResultRecordMetadata` refers to one.
    result_in, error_in        read a state in the calling thread. Without `_sync`, Prefect returns a coroutine whenever
                               an event loop is running.
    final_state                reads the last state from one of Prefect's futures without asking the API.
    unsent_events              counts the events that wait to be sent; the public function waits for them without limit.
    wait_until_events_are_sent  waits for them, for some seconds at most.
    forget_unsent_events       removes events that Prefect would otherwise try to send before the process ends.
    raise_if_suspended         stops a suspended flow run; each of Prefect's futures calls it after a wait.

`tests/unit/prefect/test_prefect_names.py` fails with a clear message when a release moves one of these, or one of
the attributes of the stock runners that `backends` uses, or of the flow engine that `flow_start.py` uses.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

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
    "forget_unsent_events",
    "initialize_process_worker",
    "raise_if_suspended",
    "result_in",
    "unsent_events",
    "wait_until_events_are_sent",
]


def result_in(state: State[Any]) -> Any:
    """Return the value that a completed state holds or refers to; raise what `State.result` raises."""
    return state.result(_sync=True)  # type: ignore[call-overload]


def error_in(state: State[Any]) -> BaseException:
    """Return the exception that a failed, crashed or cancelled state stands for; raise if it stands for none."""
    error: BaseException = get_state_exception(state, _sync=True)  # type: ignore[call-arg,assignment]
    return error


def final_state(future: Any) -> State[Any] | None:
    """Return the final state that a future holds, or None if it does not hold one yet."""
    state = getattr(future, "_final_state", None)
    return state if isinstance(state, State) else None


def wait_until_events_are_sent(seconds: float) -> bool:
    """Wait until all events that this process has emitted are sent, for `seconds` at most; return whether they are."""
    events = EventsWorker.instance()._queue
    with events.all_tasks_done:
        return events.all_tasks_done.wait_for(lambda: not events.unfinished_tasks, seconds)


def unsent_events() -> int:
    """Return the number of events that this process has emitted and not yet sent."""
    return EventsWorker.instance()._queue.qsize()


def forget_unsent_events(ids: Collection[UUID]) -> None:
    """Remove the events with these ids from the queue of events to send.

    While the API does not answer, Prefect tries about ten seconds for each, even when the process is about to end.
    """
    worker = EventsWorker.instance()
    events = worker._queue
    with events.mutex:
        kept = [event for event in events.queue if event is None or event.id not in ids]
        gone = len(events.queue) - len(kept)
        for event_id in ids:
            worker._context_cache.pop(event_id, None)
        events.queue.clear()
        events.queue.extend(kept)
        events.unfinished_tasks -= gone
        if not events.unfinished_tasks:
            events.all_tasks_done.notify_all()
