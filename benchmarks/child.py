"""One measure of one runner, in a process of its own: `python -m benchmarks.child '{"measure": ...}'`, rows on stdout.

Workers are warm; each run is a flow run, timed from inside. After each one the process waits until the server has seen
the end of every task run and has nothing left to do: else the one that comes next would pay for it. Only not after a
large one, for which that would take minutes: it is the last one of its process, and of its server.

Overhead takes one variant in a process: what stock leaves in driver, workers and scheduler slows whatever comes next.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psutil
from prefect import flow, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.context import FlowRunContext

from benchmarks.engines import bare, engine, make
from benchmarks.server import SERVER
from benchmarks.split import split
from benchmarks.tasks import noop, weigh

Row = dict[str, Any]

LARGE = 10000
"""Tasks from which on stock is left out, which would take ten minutes for them, and one turn has to do."""


def in_flow(runner: Any, body: Callable[[], Row], *, check: bool = True) -> Row:
    """Run `body` inside a flow run on `runner`; return its row, completed by what the server saw if `check`."""

    @flow(name="benchmark", task_runner=runner)
    def benchmark() -> tuple[UUID, Row]:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return context.flow_run.id, body()

    began = time.perf_counter()
    flow_run_id, row = benchmark()
    row["flow_s"] = time.perf_counter() - began
    runs = row.pop("runs")
    row["missing_in_api"] = _until_recorded(flow_run_id, runs) if check else None
    if check:
        _until_quiet(psutil.Process(int(os.environ[SERVER])))
    return row


def _until_recorded(flow_run_id: UUID, runs: int) -> int:
    """Wait until the API shows the end of `runs` task runs; return how many it lacks when nothing more comes."""
    ended = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=list(TERMINAL_STATES))))
    of_flow = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    seen, since = -1, time.monotonic()
    with get_client(sync_client=True) as client:
        while time.monotonic() - since < 60:
            answer = client._client.post(
                "/task_runs/count",
                json={
                    "task_runs": ended.model_dump(mode="json"),
                    "flow_runs": of_flow.model_dump(mode="json"),
                },
            )
            count = int(answer.json())
            if count >= runs:
                return 0
            if count != seen:
                seen, since = count, time.monotonic()
            time.sleep(0.25)
    return runs - seen


def _until_quiet(server: psutil.Process) -> None:
    """Wait, a minute at most, until the server is done with what came of a flow run after the ends of its task runs."""
    until = time.monotonic() + 60
    while server.cpu_percent(interval=1) > 10 and time.monotonic() < until:
        continue


def warm(workers: int) -> int:
    """Have every worker run something of this flow run before the clock starts; return how many task runs that took."""
    count = 4 * workers
    for future in noop.map(range(count)):
        future.result()
    return count


def overhead(order: dict[str, Any], address: str | None) -> Iterator[Row]:
    """One `map` of no-ops: seconds until it is submitted, and until the last result is there."""
    workers = order["workers"]

    def timed(n: int) -> Row:
        before = warm(workers)
        spent = _cpu_seconds()
        began = time.perf_counter()
        futures = noop.map(range(n))
        submitted = time.perf_counter() - began
        for future in futures:
            future.result()
        total = time.perf_counter() - began
        return {"submit_s": submitted, "total_s": total, "cpu_s": _cpu_seconds() - spent, "runs": before + n}

    variant, repeat = order["variant"], order["repeat"]
    for size in order["sizes"]:
        large = size >= LARGE
        if large and (repeat or variant == "stock"):
            continue
        if variant == "bare":
            with bare(order["runner"], workers, address) as submit:
                submit(4 * workers)[0]()
                began = time.perf_counter()
                wait, _keep = submit(size)
                submitted = time.perf_counter() - began
                wait()
                row: Row = {"submit_s": submitted, "total_s": time.perf_counter() - began}
        else:
            runner = make(order["runner"], variant, workers, address)
            row = in_flow(runner, lambda size=size: timed(size), check=not large)  # type: ignore[misc]
        yield {"variant": variant, "size": size, "repeat": repeat, **row}


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and all that it started: driver, scheduler and workers, no server."""
    this = psutil.Process()
    spent = 0.0
    for each in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            spent += times.user + times.system
    return spent


def settling(order: dict[str, Any], address: str | None) -> Iterator[Row]:
    """Futures that have all ended: seconds of `settle`, and of the loop `[f.result() for f in futures]`.

    The stock futures keep what they fetched, so each way gets futures of its own there.
    """
    from prefect_anyrunner import settle

    def timed(n: int, first: int, apart: bool) -> Row:
        before = warm(order["workers"])
        futures = list(noop.map(range(2 * n if apart else n)))
        _until_ended(order["runner"], futures)
        row: Row = {"runs": before + len(futures)}
        ways = (("loop", lambda some: [each.result() for each in some]), ("settle", settle))
        for turn in range(2):
            how, do = ways[(first + turn) % 2]
            began = time.perf_counter()
            do(futures[-n:] if turn else futures[:n])
            row[how] = time.perf_counter() - began
        return row

    for repeat in range(order["repeats"]):
        for variant in [each for each in ("stock", "ours") if each in order["variants"]]:
            size = order["settle_tasks"] if variant == "ours" else order["stock_settle_tasks"]
            large = size >= LARGE
            if large and repeat < order["repeats"] - 1:
                continue
            runner = make(order["runner"], variant, order["workers"], address)
            row = in_flow(
                runner,
                lambda size=size, turn=repeat, apart=variant == "stock": timed(size, turn, apart),  # type: ignore[misc]
                check=not large,
            )
            for how in ("loop", "settle"):
                yield {"variant": variant, "how": how, "size": size, "repeat": repeat, "seconds": row[how]}


def _until_ended(runner: str, futures: Any) -> None:
    """Wait until all have ended without asking for results: by the engine's own means for the stock runners."""
    if hasattr(type(futures[0]), "outcome"):
        left = threading.Semaphore(0)
        for future in futures:
            future.add_done_callback(lambda _: left.release())
        for _ in futures:
            left.acquire()
    elif runner == "ray":
        import ray

        references = [future.wrapped_future for future in futures]
        ray.wait(references, num_returns=len(references))
    elif runner == "dask":
        import distributed

        engines = [future.wrapped_future for future in futures]
        with engines[0].client.as_current():
            distributed.wait(engines)  # type: ignore[no-untyped-call]
    else:
        for future in futures:
            future.wrapped_future.exception()


def shared(order: dict[str, Any], address: str | None) -> Iterator[Row]:
    """One large argument for many tasks: seconds until all have it."""

    def timed(n: int) -> Row:
        before = warm(order["workers"])
        data = bytes(order["megabytes"] * 10**6)
        began = time.perf_counter()
        for future in weigh.map(range(n), data=unmapped(data)):
            future.result()
        return {"total_s": time.perf_counter() - began, "runs": before + n}

    for repeat in range(order["shared_repeats"]):
        for variant in _in_turn([each for each in order["variants"] if each != "bare"], repeat):
            size = order["shared_tasks"] if variant == "ours" else order["stock_shared_tasks"]
            runner = make(order["runner"], variant, order["workers"], address)
            row = in_flow(runner, lambda size=size: timed(size))  # type: ignore[misc]
            yield {"variant": variant, "size": size, "megabytes": order["megabytes"], "repeat": repeat, **row}


def memory(order: dict[str, Any], address: str | None) -> Iterator[Row]:
    """Resident megabytes of each process while `map_settled` runs, a row for each tenth of the tasks."""
    from prefect_anyrunner import map_settled

    total = order["memory_tasks"]
    tenths = 0
    began = time.perf_counter()

    def look(done: int, failed: int, of: int | None) -> None:
        nonlocal tenths
        if done < total * (tenths + 1) // 10:
            return
        tenths += 1
        this = psutil.Process()  # not outside: the flow travels to the workers, with all that it refers to
        family = [this, *this.children(recursive=True)]
        held = {f"{each.pid} {_role(each, this)}": round(each.memory_info().rss / 1e6, 1) for each in family}
        row = {"variant": "ours", "done": done, "seconds": time.perf_counter() - began, "megabytes": held}
        print(json.dumps({"measure": "memory", "runner": order["runner"], **row}), flush=True)

    def body() -> Row:
        map_settled(noop, (number for number in range(total)), window=500, progress=look)
        return {"runs": 0}

    in_flow(make(order["runner"], "ours", order["workers"], address), body)
    yield from ()


def _role(process: psutil.Process, this: psutil.Process) -> str:
    if process.pid == this.pid:
        return "driver"
    command = " ".join(process.cmdline())
    return next((word for word in ("cluster.py", "ray::", "gcs_server", "raylet", "spawn_main") if word in command), "")


def _in_turn(variants: list[str], repeat: int) -> list[str]:
    return variants if repeat % 2 == 0 else variants[::-1]


MEASURES: dict[str, Callable[[dict[str, Any], str | None], Iterator[Row]]] = {
    "overhead": overhead,
    "settle": settling,
    "shared": shared,
    "memory": memory,
    "split": split,
}


def main() -> None:
    """Measure what the first argument orders, and print each row as a line of JSON."""
    order = json.loads(sys.argv[1])
    with engine(order["runner"], order["workers"]) as address:
        for row in MEASURES[order["measure"]](order, address):
            print(json.dumps({"measure": order["measure"], "runner": order["runner"], **row}), flush=True)


if __name__ == "__main__":
    main()
