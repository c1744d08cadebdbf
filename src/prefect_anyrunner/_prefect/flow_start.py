"""The flow run that is about to start its task runner: a line in its log, and its end if the runner cannot start.

Prefect's flow engine starts the runner outside of its own error handling: an error there leaves the flow run Running
for ever. So the error is kept until the engine calls the flow's function, in whose place it ends the flow run.

    duplicate() or __enter__ fails -> end_flow_run_instead(error) -> the engine goes on -> Failed | Crashed -> the error
"""

from __future__ import annotations

import functools
import inspect
from copy import copy
from types import CodeType
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.flow_engine import AsyncFlowRunEngine, FlowRunEngine
from prefect.logging.loggers import flow_run_logger
from prefect.states import Crashed, Failed
from prefect.utilities.engine import propose_state_sync

from prefect_anyrunner._base.errors import AnyRunnerError, BackendUnavailable, SpecError
from prefect_anyrunner._prefect.private import wait_until_events_are_sent

_WRONG = (SpecError, BackendUnavailable)
"""Errors that a retry would meet again: they make the flow run Failed, and its retries are left out."""
_STARTS: tuple[CodeType, ...] = tuple(
    inspect.unwrap(engine.setup_run_context).__code__ for engine in (FlowRunEngine, AsyncFlowRunEngine)
)
"""The functions of Prefect in which a flow run starts its task runner."""
_EVENTS_SECONDS = 2.0
"""Seconds to wait for the events of the flow run: a script that ends with unsent ones logs so below the error."""
_BETWEEN = ("prefect_anyrunner", "contextlib")
"""Packages whose functions are on the stack between such a function and the error."""


def end_flow_run_instead(error: Exception) -> bool:
    """End with `error` the flow run that is starting a runner in the calling thread, once its function is called.

    Returns False if no flow run is starting one here; the caller then raises the error. The flow run is Failed if its
    runner is wrong. Otherwise it is Crashed, once the flow has no retries left.
    """
    engine = _starting_engine()
    if engine is None:
        return False
    if isinstance(error, AnyRunnerError):  # its text says everything, so that no other traceback is shown above it
        error.__cause__, error.__suppress_context__ = None, True
    error = error.with_traceback(None)
    if engine.flow.isgenerator:
        _end_now(engine, error)
        return False
    flow = engine.flow
    engine.flow = copy(flow)
    engine.flow.fn = (_refusal_async if flow.isasync else _refusal)(engine, flow, error)
    return True


def log_in_flow_run(text: str) -> None:
    """Log a line at INFO in the flow run that is starting a runner in the calling thread, if one is."""
    engine = _starting_engine()
    if engine is not None:
        flow_run_logger(engine.flow_run, engine.flow).info("%s", text)


def _starting_engine() -> Any:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    return frame.f_locals["self"] if frame is not None and frame.f_code in _STARTS else None


def _refusal(engine: Any, flow: Any, error: Exception) -> Any:
    @functools.wraps(flow.fn)
    def refuse(*args: Any, **kwargs: Any) -> State[Any]:
        engine.flow = flow
        state = _state_for(engine, error)
        engine.set_state(state, force=True)
        return _ended(engine, state, error)

    return refuse


def _refusal_async(engine: Any, flow: Any, error: Exception) -> Any:
    @functools.wraps(flow.fn)
    async def refuse(*args: Any, **kwargs: Any) -> State[Any]:
        engine.flow = flow
        state = _state_for(engine, error)
        await engine.set_state(state, force=True)
        return _ended(engine, state, error)

    return refuse


def _ended(engine: Any, state: State[Any], error: Exception) -> State[Any]:
    engine.short_circuit = True  # else the engine would propose the returned state again
    engine._raised = error  # raised as it is: taking it from a state would add a dozen frames
    wait_until_events_are_sent(_EVENTS_SECONDS)
    return state


def _end_now(engine: Any, error: Exception) -> None:
    """End the flow run at once, because the engine takes the function of a generator from elsewhere."""
    state = _state(error)
    with get_client(sync_client=True) as client:
        engine.flow_run.state = propose_state_sync(client, state, flow_run_id=engine.flow_run.id, force=True)


def _state_for(engine: Any, error: Exception) -> State[Any]:
    """Return the state in which the flow run ends; raise the error if another attempt follows."""
    retries = engine.flow_run.empirical_policy.retries
    if not isinstance(error, _WRONG) and retries is not None and engine.flow_run.run_count <= retries:
        raise error
    return _state(error)


def _state(error: Exception) -> State[Any]:
    text = str(error) if isinstance(error, AnyRunnerError) else f"The task runner did not start: {error!r}"
    return Failed(message=text, data=error) if isinstance(error, _WRONG) else Crashed(message=text, data=error)
