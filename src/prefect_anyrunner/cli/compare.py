"""`anyrunner compare`: the same flow on several runners, and whether it ends alike on all of them.

Each runner gets a fresh process, because an engine that one of them leaves behind, or a task on a thread that kills its
process, must not affect the next one. All of them use one Prefect server.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prefect_anyrunner._base.secrets import hide_in_text
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._provisioning.child import Child, ChildEnded
from prefect_anyrunner._provisioning.environment import child_environment
from prefect_anyrunner._provisioning.server import server_environment
from prefect_anyrunner.cli.compare_table import comparison, print_table
from prefect_anyrunner.cli.facts import FlowRecord, differences
from prefect_anyrunner.cli.load import check_reachable, load_flow, read_parameters
from prefect_anyrunner.cli.usage_error import UsageError

STOP_SECONDS = 30.0
"""Seconds that an interrupted runner gets to stop its engine before it is killed."""


def compare(
    flow_spec: str, pairs: Sequence[str], texts: Sequence[str], *, as_json: bool, keep_logs: str | None = None
) -> int:
    """Run the flow on each runner, print the comparison, and return 0 only if all agree.

    `keep_logs`: a folder that gets the output of each run, `1-thread.log` and so on, with Prefect's log in it.

    Two flow runs agree when the flow itself ended alike and when the task runs that it waited for have the same
    statuses, results, and types and args of exceptions, in submission order. Raises UsageError, SpecError,
    BackendUnavailable and EngineUnreachable before anything has run.
    """
    if not texts:
        raise UsageError("--on names no runner")
    specs = [RunnerSpec.load(text, place="--on") for text in texts]
    for spec in specs:
        check_reachable(spec)
    parameters = read_parameters(load_flow(flow_spec), pairs)
    logs = _log_files(keep_logs, specs)
    names = [hide_in_text(text) for text in texts]
    with _sigterm_exits(), server_environment() as server, _progress() as progress:
        records = [
            _run(flow_spec, parameters, spec, server, name, progress, log)
            for spec, name, log in zip(specs, names, logs, strict=True)
        ]
    for name, log in zip(names, logs, strict=True):
        if log is not None:
            print(f"anyrunner: the output on {name} is in {log}", file=sys.stderr)
    found = [differences(records[0], other) for other in records]
    if as_json:
        print(json.dumps(comparison(flow_spec, records, found), indent=2))
    else:
        print_table(records, found)
    return 1 if any(found) else 0


def _run(
    flow_spec: str,
    parameters: dict[str, Any],
    spec: RunnerSpec,
    server: Mapping[str, str],
    name: str,
    progress: Progress,
    log: Path | None,
) -> FlowRecord:
    """Run the flow on one runner in a process of its own and return what it reports.

    `name`: the runner as the user wrote it, without secrets. `log`: the file that gets the output.
    """
    line = progress.add_task(name, total=None, failed=0)
    environment = {**child_environment(spec, quiet=log is None), **server}
    child = Child("prefect_anyrunner.cli.compare_child", environment)
    try:
        child.send((flow_spec, parameters, spec))
        record = _follow(child, lambda *counts: _draw(progress, line, *counts))
    except (ChildEnded, OSError) as ended:
        record = FlowRecord(
            runner=name, seconds=0.0, runs=[], value="", value_text="", error="", failure="", crashed=""
        )
        record["crashed"] = ": ".join([f"the process ended ({ended}) before the flow did", *child.tail(1)])
    finally:
        child.stop(by=signal.SIGINT, seconds=STOP_SECONDS, keep_output=log)
    record["runner"] = name
    done = len(record["runs"])
    progress.update(line, total=done, completed=done)
    progress.stop_task(line)
    return record


def _log_files(folder: str | None, specs: Sequence[RunnerSpec]) -> list[Path | None]:
    """Return the file for the output of each run, in a folder that exists; None for each if there is no folder."""
    if folder is None:
        return [None] * len(specs)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--keep-logs: {error}") from error
    return [Path(folder) / f"{number}-{spec.backend}.log" for number, spec in enumerate(specs, 1)]


def _follow(child: Child, draw: Callable[[int, int, int | None], None]) -> FlowRecord:
    """Call `draw` with each progress message and return the record of the flow run. Raises ChildEnded."""
    while True:
        message: Any = child.receive()
        if not isinstance(message, tuple):
            record: FlowRecord = message
            return record
        draw(*message)


def _draw(progress: Progress, line: TaskID, done: int, failed: int, total: int | None) -> None:
    progress.update(line, completed=done, failed=failed, total=total)


@contextmanager
def _progress() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield progress


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM stop server and engines as Ctrl-C does."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(143)  # the exit code that a shell reports for SIGTERM

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
