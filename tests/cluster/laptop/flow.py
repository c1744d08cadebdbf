"""A flow that a user runs on a laptop, with a cluster: `python flow.py SCENARIO SPEC FOLDER`.

It prints one line of JSON at its end: the outcomes, the error, and the states that the API shows.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import helpers  # type: ignore[import-not-found]
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext

from prefect_anyrunner import AnyTaskRunner, Report, settle

SCENARIO, SPEC, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
LARGE = 2_000_000


def note(name: str) -> None:
    """Append a line to a file, so that a body that ran twice leaves two lines."""
    with (FOLDER / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def until(name: str, seconds: float = 120.0) -> None:
    """Wait for a file."""
    end = time.monotonic() + seconds
    while not (FOLDER / name).exists():
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.05)


@task
def twice(number: int) -> int:
    """Use a module that is beside this file."""
    return int(helpers.twice(number))


@task
def import_late() -> str:
    """Import a module beside this file that the flow itself has not imported."""
    import unseen  # type: ignore[import-not-found]

    return str(unseen.WORD)


@task
def where(number: int) -> str:
    """Return the address of this host."""
    note(f"ran-{number}")
    if number:
        until("more-workers")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.77.0.1", 9))
        address: str = probe.getsockname()[0]
    time.sleep(0.2)
    return address


@task
def hold(number: int) -> int:
    """Run until the file `go` exists."""
    note(f"ran-{number}")
    until("go")
    return number


@task
def count(number: int) -> int:
    """Run at once."""
    note("counted")
    return number


@task
def large(number: int) -> bytes:
    """Return a value that is large enough to stay on its worker."""
    note(f"large-{number}")
    return bytes([number]) * LARGE


@task
def die(number: int) -> int:
    """Kill the worker, as number 21."""
    note(f"ran-{number}")
    if number == 21:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def modules() -> list[Any]:
    """Run tasks that need modules which only the laptop has."""
    return [*twice.map([1, 2, 13]), import_late.submit()]


def late() -> list[Any]:
    """Submit more runs than the first workers can take at a time."""
    return list(where.map(range(8)))


def holding() -> list[Any]:
    """Keep all workers busy while more runs wait."""
    return list(hold.map(range(4)))


def dying() -> list[Any]:
    """Lose a worker among many small runs, which travel in batches because the workers have run some before."""
    die.map(range(100, 140)).wait()
    return list(die.map(range(40)))


def keeping() -> list[Any]:
    """Have large results on workers, and runs in progress."""
    kept = large.map(range(1, 5))
    kept.wait()
    note("kept")
    return [*kept, *hold.map(range(2))]


def cut_off() -> list[Any]:
    """Run one half, and the other while the API cannot be reached."""
    first = count.map(range(100))
    first.wait()
    note("half")
    until("cut")
    rest = count.map(range(100, 200))
    rest.wait()
    note("whole")
    until("back")
    return [*first, *rest]


@flow(task_runner=AnyTaskRunner(SPEC))
def laptop() -> list[dict[str, Any]]:
    """Run one scenario and return its outcomes as plain data."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    (FOLDER / "flow-run").write_text(str(context.flow_run.id))
    report: Report = settle(globals()[SCENARIO]())
    rows = []
    for outcome in report:
        error = outcome.error
        try:
            value = outcome.value if outcome.status.value == "completed" else None
        except Exception as exc:
            value, error = None, exc
        rows.append(
            {
                "task": outcome.task_name,
                "status": outcome.status.value,
                "value": f"{len(value)} bytes" if isinstance(value, bytes) else value,
                "error": type(error).__name__ if error else None,
                "text": str(error) if error else None,
                "cause": type(error.__cause__).__name__ if error else None,
                "notes": getattr(error, "__notes__", []),
                "own": isinstance(error, helpers.Refused),
                "attempts": outcome.attempts,
            }
        )
    return rows


def states() -> dict[str, int]:
    """Return how many task runs of the flow run the API shows in each state, once none is open or time is up."""
    run_id = UUID((FOLDER / "flow-run").read_text())
    end = time.monotonic() + 30
    while True:
        with get_client(sync_client=True) as client:
            runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
        names = [run.state.type.value if run.state else "NONE" for run in runs]
        if not {"RUNNING", "PENDING", "SCHEDULED"} & set(names) or time.monotonic() > end:
            return {name: names.count(name) for name in sorted(set(names))}
        time.sleep(0.2)


def main() -> None:
    """Run the flow and print its end."""
    began = time.monotonic()
    end: dict[str, Any] = {"rows": [], "raised": None}
    try:
        end["rows"] = laptop()
    except Exception as exc:
        end["raised"] = f"{type(exc).__name__}: {exc}"
    end["seconds"] = round(time.monotonic() - began, 1)
    end["states"] = states() if (FOLDER / "flow-run").exists() else {}
    print("\n" + json.dumps({"end": end}), flush=True)


if __name__ == "__main__":
    main()
