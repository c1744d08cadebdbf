"""What `anyrunner run` and `anyrunner compare` share: loading a flow, reading parameters, running it once."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.context import TaskRunContext
from prefect.exceptions import ParameterTypeError

from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._choosing.runner import AnyTaskRunner, use_runner
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._outcomes.failure import TaskRunsFailed
from prefect_anyrunner._outcomes.render import group_lines
from prefect_anyrunner._outcomes.report import Report
from prefect_anyrunner._waiting.progress import Progress, watching
from prefect_anyrunner._waiting.session import recording


def on_any_runner(flow: Flow[..., Any]) -> Flow[..., Any]:
    """Return the flow with a runner that can be chosen: itself, or one with an `AnyTaskRunner` in place of its own."""
    return flow if isinstance(flow.task_runner, AnyTaskRunner) else flow.with_options(task_runner=AnyTaskRunner())


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
