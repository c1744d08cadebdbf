"""`anyrunner compare`: the same flow on several runners, what came out side by side.

Each runner gets a fresh process: an engine that one of them leaves behind, or a worker thread that a task has killed
the process with, cannot touch the next; all talk to one Prefect server.
"""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._provisioning.server import server_environment, stop
from prefect_anyrunner.cli.compare_table import _as_json, _print
from prefect_anyrunner.cli.facts import FlowFacts, differences
from prefect_anyrunner.cli.load import BadInput, check_reachable, load_flow, read_parameters

STOP_SECONDS = 30
"""How long an interrupted runner may take to stop its engine before it is killed."""


def compare(flow_spec: str, pairs: Sequence[str], texts: Sequence[str], *, as_json: bool) -> int:
    """Run the flow on each runner and print the comparison; return 0 only if all agree.

    Two flow runs agree when the task runs that the flow waited for have the same statuses, results, and types and
    args of exceptions, in submission order, and the flow itself ended alike. Raises BadInput, SpecError,
    BackendUnavailable, EngineUnreachable before anything has run.
    """
    if not texts:
        raise BadInput("--on names no runner")
    specs = [RunnerSpec.load(text, place="--on") for text in texts]
    for spec in specs:
        check_reachable(spec)
    parameters = read_parameters(load_flow(flow_spec), pairs)
    with _terminated_as_interrupted(), server_environment() as environment, _progress() as progress:
        told = [
            _run(flow_spec, parameters, spec, environment, name, progress)
            for spec, name in zip(specs, texts, strict=True)
        ]
    found = [differences(told[0], other) for other in told]
    if as_json:
        print(json.dumps(_as_json(flow_spec, told, found), indent=2))
    else:
        _print(told, found)
    return 1 if any(found) else 0


def _run(
    flow_spec: str,
    parameters: dict[str, Any],
    spec: RunnerSpec,
    environment: dict[str, str],
    name: str,
    progress: Progress,
) -> FlowFacts:
    with tempfile.TemporaryDirectory(prefix="anyrunner-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        (folder / "job.pickle").write_bytes(pickle.dumps((flow_spec, parameters, spec)))
        (folder / "told.jsonl").touch()
        line = progress.add_task(name, total=None, failed=0)
        with (folder / "output.log").open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "prefect_anyrunner.cli.compare_child", text],
                env={**_defaults(spec), **os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: the child is then asked once, and given time
            )
        try:
            facts = _follow(child, folder / "told.jsonl", lambda *far: _draw(progress, line, *far))
        finally:
            stop(child, gently=signal.SIGINT, seconds=STOP_SECONDS)
        if facts is None:
            tail = (folder / "output.log").read_text(errors="replace").strip().splitlines()
            how = f"killed by signal {-child.returncode}" if child.returncode < 0 else f"code {child.returncode}"
            crashed = f"the process ended ({how}) before the flow did{': ' if tail else ''}{tail[-1] if tail else ''}"
            facts = FlowFacts(runner=name, seconds=0.0, runs=[], value="", error="", failure="", crashed=crashed)
        facts["runner"] = name
        done = len(facts["runs"])
        progress.update(line, total=done, completed=done)
        progress.stop_task(line)
        return facts


def _defaults(spec: RunnerSpec) -> dict[str, str]:
    """Return variables for the child, for where the user has set none."""
    # What Prefect logs of each failed task would bury the table; the API has the states all the same.
    quiet = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "RAY_USAGE_STATS_ENABLED": "0"}
    if spec.address is None and "RAY_AUTH_MODE" not in os.environ:
        # A Ray that is started without a token writes one into the user's home folder.
        quiet |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return quiet


def _follow(child: subprocess.Popen[bytes], told: Path, far: Any) -> FlowFacts | None:
    """Read what the child tells until it has ended; return the facts of the flow run, None if they never came."""
    facts: FlowFacts | None = None
    with told.open() as lines:
        rest = ""
        while True:
            ended = child.poll() is not None
            for line in lines:
                rest += line
                if rest.endswith("\n"):
                    what = json.loads(rest)
                    rest = ""
                    if isinstance(what, dict):
                        facts = FlowFacts(**what)  # type: ignore[typeddict-item]  # written by our own child
                    else:
                        far(*what)
            if ended:
                return facts
            time.sleep(0.05)


def _draw(progress: Progress, line: Any, done: int, failed: int, total: int | None) -> None:
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
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM stop server and engines as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
