"""`anyrunner run`: one flow, once; `run_flow` also runs the flows of `anyrunner compare`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from prefect import Flow
from prefect.context import TaskRunContext

from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._choosing.runner import AnyTaskRunner, use_runner
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._reports.failure import TaskRunsFailed
from prefect_anyrunner._reports.render import group_lines
from prefect_anyrunner._reports.report import Report
from prefect_anyrunner._waiting.progress import Progress, watching
from prefect_anyrunner._waiting.session import recording
from prefect_anyrunner.cli.load import check_reachable, load_flow, read_parameters
from prefect_anyrunner.cli.report_files import combined, report_path, save
from prefect_anyrunner.cli.values import value_text


def run(flow_spec: str, pairs: Sequence[str], runner: str | None, files: Sequence[str] = ()) -> int:
    """Run the flow once, print how it ended, and return the exit code.

    `runner`: a spec, or None for the one that is configured. `files`: files that get a report of its waits. Raises
    UsageError, SpecError, BackendUnavailable and EngineUnreachable.
    """
    spec = RunnerSpec.load(runner, place="--runner") if runner is not None else None
    paths = [report_path(file, "--report") for file in files]
    flow = load_flow(flow_spec)
    parameters = read_parameters(flow, pairs)
    chosen = spec or (flow.task_runner.resolve() if isinstance(flow.task_runner, AnyTaskRunner) else None)
    if chosen is not None:
        check_reachable(chosen)
    with _without_second_traceback():
        end = run_flow(flow, parameters, spec, True)
    name = str(chosen) if chosen is not None else type(flow.task_runner).__name__
    try:
        return _print_end(flow.name, name, end)
    finally:  # last, so that a full disk does not hide how the flow ended
        if paths:
            report = combined(end.reports, end.error)
            for path in paths:
                save(report, path)


def _print_end(flow: str, runner: str, end: FlowEnd) -> int:
    """Print how the flow ended and return the exit code. Raises EngineUnreachable if that is why it failed."""
    if isinstance(end.error, EngineUnreachable):
        raise end.error
    if end.error is not None:
        print(f"anyrunner: flow {flow!r} failed on {runner}: {end.failure()}", file=sys.stderr)
        return 1
    runs = sum(map(len, end.reports))
    print(f"flow {flow!r} completed on {runner} and waited for {runs} task run{'' if runs == 1 else 's'}")
    if end.result is not None:
        print(f"result: {value_text(end.result)}")
    return 0


@dataclass(frozen=True)
class FlowEnd:
    """The end of one flow run: `error` is None when it completed, `reports` are those of the flow's own waits."""

    result: Any
    error: BaseException | None
    reports: list[Report]

    def failure(self) -> str:
        """Return the failure as text, a combined failure with its groups of alike failures."""
        assert self.error is not None, "only a flow that failed has a failure"
        if isinstance(self.error, TaskRunsFailed):
            counted = str(self.error.message).partition(": ")[0]  # the lines below say the rest
            return "\n".join([counted, *(f"  {line}" for line in group_lines(self.error.outcomes))])
        return described(self.error)


def run_flow(
    flow: Flow[..., Any],
    parameters: dict[str, Any],
    spec: RunnerSpec | None,
    watch: Progress | Literal[True] | None = None,
) -> FlowEnd:
    """Run the flow once, on `spec` or else on its own runner, and return how it ended.

    `watch` is called while the flow waits, whenever one of the task runs that it waits for has ended; with True, a bar
    is drawn.
    """
    with ExitStack() as stack:
        if spec is not None:
            flow = _choosable(flow)
            stack.enter_context(use_runner(spec))
        if watch is not None:
            stack.enter_context(watching(watch))
        # Tasks on threads share the flow's context, so their own waits would be recorded, too.
        reports = stack.enter_context(recording(only=lambda: TaskRunContext.get() is None))
        try:
            result = flow(**parameters)
            if inspect.isgenerator(result):  # its body runs only now
                result = list(result)
            elif inspect.isasyncgen(result):
                result = asyncio.run(_collected(result))
            elif inspect.isawaitable(result):
                result = asyncio.run(_awaited(result))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a flow may end by SystemExit or by a BaseException of its own
            return FlowEnd(None, error, list(reports))
    return FlowEnd(result, None, list(reports))


def _choosable(flow: Flow[..., Any]) -> Flow[..., Any]:
    """Return the flow with a runner that can be chosen: itself, or a copy with an `AnyTaskRunner`."""
    return flow if isinstance(flow.task_runner, AnyTaskRunner) else flow.with_options(task_runner=AnyTaskRunner())


async def _collected(result: AsyncIterator[Any]) -> list[Any]:
    return [each async for each in result]


async def _awaited(result: Any) -> Any:
    return await result


@contextmanager
def _without_second_traceback() -> Iterator[None]:
    """Keep Prefect from printing the traceback of the combined failure, too; its log in the API stays complete."""
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
