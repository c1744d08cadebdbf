"""What `anyrunner run` and `anyrunner compare` share: loading a flow, reading parameters, running it once."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from prefect import Flow
from prefect.context import TaskRunContext
from prefect.exceptions import MissingFlowError, ParameterTypeError, ScriptError
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import get_call_parameters

from ._errors import EngineUnreachable, TaskRunsFailed
from ._progress import Progress, watching
from ._render import described, group_lines
from ._report import Report
from ._runner import AnyTaskRunner, use_runner
from ._secrets import hide_in_text
from ._settle import recording
from ._spec import RunnerSpec

CONNECT_SECONDS = 10.0
"""How long an address may take to answer when the spec does not say."""


class BadInput(Exception):
    """The command cannot begin; its text is the one sentence to print, and the exit code is 2."""


def load_flow(spec: str) -> Flow[..., Any]:
    """Return the flow of `FILE.py:FLOW` or `package.module:FLOW`. Raises BadInput in one sentence."""
    where, colon, name = spec.rpartition(":")
    if not (colon and where and name):
        raise BadInput(f"{spec!r} is not FILE:FLOW, such as nightly.py:nightly")
    is_file = where.endswith(".py") or os.sep in where
    if is_file and not Path(where).is_file():
        raise BadInput(f"there is no file {where!r}")
    if is_file and not where.endswith(".py"):
        raise BadInput(f"{where!r} is not a Python file: its name must end in .py")
    try:
        flow: Any = load_flow_from_entrypoint(spec, use_placeholder_flow=False)
    except MissingFlowError as error:
        what = "is not a flow: decorate it with @flow" if "is not a flow" in str(error) else "is not there"
        raise BadInput(f"{name!r} in {where} {what}") from error
    except ScriptError as error:
        raise BadInput(f"{where} does not import: {_one_line(error.user_exc)}") from error
    except (Exception, SystemExit) as error:
        raise BadInput(f"{where} does not import: {_one_line(error)}") from error
    if is_file:
        # As `python FILE` would: its functions travel themselves, for workers may not have the file.
        module = sys.modules.get(flow.fn.__module__)
        if module is not None and Path(getattr(module, "__file__", None) or "").resolve() == Path(where).resolve():
            cloudpickle.register_pickle_by_value(module)
    return flow  # type: ignore[no-any-return]


def read_parameters(flow: Flow[..., Any], pairs: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of `name=value` texts; a value is JSON, or else text. Raises BadInput."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"parameter {pair!r} is not name=value")
        if name in parameters:
            raise BadInput(f"parameter {name!r} is given twice")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    try:
        inspect.signature(flow.fn).bind(**parameters)
        if flow.should_validate_parameters:
            with _silent("prefect.flows"):  # it logs what the error says anyway
                flow.validate_parameters(get_call_parameters(flow.fn, (), parameters))
    except (TypeError, ParameterTypeError) as error:
        raise BadInput(f"flow {flow.name!r} does not take these parameters: {_one_line(error)}") from error
    return parameters


def on_any_runner(flow: Flow[..., Any]) -> Flow[..., Any]:
    """Return the flow with a runner that can be chosen: itself, or one with an `AnyTaskRunner` in place of its own."""
    return flow if isinstance(flow.task_runner, AnyTaskRunner) else flow.with_options(task_runner=AnyTaskRunner())


def check_reachable(spec: RunnerSpec) -> None:
    """Fail now, before a flow run exists, if the backend is not installed or nobody listens at the address.

    Raises BackendUnavailable, EngineUnreachable within the spec's connect timeout.
    """
    runner = spec.runner()
    if spec.address is None:
        return
    host, colon, port = spec.address.rpartition("://")[2].rpartition("@")[2].rpartition(":")
    if not colon:  # a word such as "auto": only the engine knows where that is
        with runner:
            return
    seconds = spec.options.get("connect_timeout", CONNECT_SECONDS)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OSError as error:
        raise EngineUnreachable(
            f"no {spec.backend} answers at {hide_in_text(spec.address)} (tried for {seconds:g} s at most): {error}",
            address=spec.address,
        ) from error


@dataclass(frozen=True)
class FlowEnd:
    """How one flow run ended: `error` is None when it completed. `reports` are those of the flow's own waits."""

    result: Any
    error: BaseException | None
    reports: list[Report]

    def failure(self) -> str:
        """Return the failure as text, the combined one with its groups of alike failures."""
        assert self.error is not None, "asked of a flow that failed"
        if isinstance(self.error, TaskRunsFailed):
            return "\n".join([str(self.error.message), *(f"  {line}" for line in group_lines(self.error.outcomes))])
        return described(self.error)


def run_flow(
    flow: Flow[..., Any], parameters: dict[str, Any], spec: RunnerSpec | None, watch: Progress | None = None
) -> FlowEnd:
    """Run the flow once, on `spec` or on whatever it has. `watch`: called as the task runs it waits for end."""
    reports = _OfTheFlow()
    with ExitStack() as stack:
        if spec is not None:
            flow = on_any_runner(flow)
            stack.enter_context(use_runner(spec))
        if watch is not None:
            stack.enter_context(watching(watch))
        stack.enter_context(recording(reports))
        try:
            result = flow(**parameters)
            if inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a flow may end by SystemExit, or by an exception of its own
            return FlowEnd(None, error, list(reports))
    return FlowEnd(result, None, list(reports))


async def _awaited(result: Any) -> Any:
    return await result


class _OfTheFlow(list[Report]):
    # Tasks on threads share the flow's context and would record their own waits here; tasks elsewhere do not.
    def append(self, report: Report) -> None:
        if TaskRunContext.get() is None:
            super().append(report)


@contextmanager
def without_second_traceback() -> Iterator[None]:
    """Keep Prefect from printing the traceback of the combined failure too; its log in the API is left whole."""
    handlers = {
        handler
        for name in ("prefect", "prefect.flow_runs")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler)
    }

    def keep(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], TaskRunsFailed))

    for handler in handlers:
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(keep)


@contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _one_line(error: BaseException) -> str:
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ParameterTypeError):
        return "; ".join(lines[1:] or lines)  # the first line says what we have said
    if isinstance(error, TypeError) and not lines[1:]:
        return "".join(lines)
    return f"{type(error).__name__}: {'; '.join(lines)}".rstrip(": ")
