"""Run several flows in one process, in a given order, and print what they returned and what they left behind.

Argument: JSON with `specs` (a runner per flow), `mode` ("threads" or "asyncio"), `start` ("together" or "in turn"),
`end` (indices in the order in which the flows end) and `inner` (specs of subflows that each flow starts).
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

import dask.config
import distributed
import psutil
import ray
from prefect import flow, runtime, task

from prefect_anyrunner import RunnerSpec, agather, gather

WITHIN = 150


@task
def double(number: int) -> int:
    return 2 * number


@flow
def inside(numbers: list[int]) -> Any:
    return gather(double.map(numbers))


@flow
async def inside_async(numbers: list[int]) -> Any:
    return await agather(double.map(numbers))


def runner_of(spec: str) -> Any:
    """Return the runner of a spec, or of `ray+HOST:PORT`, which no spec can say."""
    if spec.startswith("ray+"):
        from prefect_anyrunner.backends.ray import RayTaskRunner

        return RayTaskRunner(address=spec.removeprefix("ray+"))
    return RunnerSpec.load(spec).runner()


class Turns:
    """Says when a flow may start and when it may end; an asyncio flow looks at the same events from a thread."""

    def __init__(self) -> None:
        count = len(plan["specs"])
        self.began = [threading.Event() for _ in range(count)]
        self.ended = [threading.Event() for _ in range(count)]
        self.heard_signal = threading.Event()
        in_turn = plan["start"] == "in turn"
        self.before_start = [self.began[i - 1 : i] if in_turn and i else [] for i in range(count)]
        end = plan["end"]
        self.before_end = [
            [*self.began, self.heard_signal, *(self.ended[other] for other in end[: end.index(i)])]
            for i in range(count)
        ]


def wait_for(events: list[threading.Event]) -> None:
    for event in events:
        if not event.wait(WITHIN):
            raise TimeoutError("another flow did not come so far")


plan: dict[str, Any] = {}
turns: Turns


def began(i: int) -> None:
    """Say that flow `i` uses its engine: a function, which travels with the flow by name, as an event cannot travel."""
    turns.began[i].set()


def until_it_may_end(i: int) -> None:
    wait_for(turns.before_end[i])


def subflows(asked: Any) -> list[Any]:
    return [asked.with_options(task_runner=runner_of(spec)) for spec in plan["inner"]]


@flow
def overlapping(i: int) -> Any:
    first = gather(double.map([i, i + 1]))
    began(i)
    until_it_may_end(i)
    inner = [subflow([i]) for subflow in subflows(inside)]
    return runtime.flow_run.id, [first, gather(double.map([i + 2, i + 3])), *inner]


@flow
async def overlapping_async(i: int) -> Any:
    first = await agather(double.map([i, i + 1]))
    began(i)
    await asyncio.to_thread(until_it_may_end, i)
    inner = await asyncio.gather(*(subflow([i]) for subflow in subflows(inside_async)))
    return runtime.flow_run.id, [first, await agather(double.map([i + 2, i + 3])), *inner]


def in_threads() -> list[Any]:
    def one(i: int) -> Any:
        wait_for(turns.before_start[i])
        try:
            return overlapping.with_options(task_runner=runner_of(plan["specs"][i]))(i)
        except Exception as exc:
            traceback.print_exc()
            return type(exc).__name__, str(exc)
        finally:
            turns.began[i].set()
            turns.ended[i].set()

    results: list[Any] = [None] * len(plan["specs"])
    # Each thread ends with its flow, as in a program that starts one per flow.
    threads = [
        threading.Thread(target=lambda i=i: results.__setitem__(i, one(i)), daemon=True) for i in range(len(results))
    ]
    for thread in threads:
        thread.start()
    wait_for(turns.began)  # all engines are up; what this process does at SIGTERM is still its own
    os.kill(os.getpid(), signal.SIGTERM)
    for thread in threads:
        thread.join()
    return results


async def in_asyncio() -> list[Any]:
    turns.heard_signal.set()  # here Prefect ends the flow at SIGTERM

    async def one(i: int) -> Any:
        await asyncio.to_thread(wait_for, turns.before_start[i])
        try:
            return await overlapping_async.with_options(task_runner=runner_of(plan["specs"][i]))(i)
        except Exception as exc:
            traceback.print_exc()
            return type(exc).__name__, str(exc)
        finally:
            turns.began[i].set()
            turns.ended[i].set()

    return await asyncio.gather(*map(one, range(len(plan["specs"]))))


def what_it_is_like() -> dict[str, Any]:
    """Return what belongs to the whole process and must be the same afterwards."""
    actions = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        action = ctypes.create_string_buffer(512)
        ctypes.CDLL(None).sigaction(number, None, action)
        actions[number] = repr(signal.getsignal(number)), action.raw[:8]  # what the operating system calls
    try:
        client = repr(distributed.get_client())
    except ValueError:
        client = "none"
    config = copy.deepcopy(dask.config.config)
    # Without bokeh each scheduler of Dask adds a route to this list, for good.
    config["distributed"]["scheduler"]["http"].pop("routes")
    return {
        **{f"variable {name}": value for name, value in os.environ.items()},
        "signals": actions,
        "dask.config": config,
        "ray": ray.is_initialized(),
        "client": client,
        "folder": os.getcwd(),
    }


def left_behind() -> list[str]:
    _, left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=30)
    left = [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    # Python's own and the templates of workers, which stay until the process ends.
    staying = ("resource_tracker", "prefect_anyrunner.backends._template")
    texts = [" ".join(each.cmdline()) for each in left]
    return [text for text in texts if not any(name in text for name in staying)]


def main() -> None:
    global turns
    plan.update(json.loads(sys.argv[1]))
    turns = Turns()
    signal.signal(signal.SIGTERM, lambda *_: turns.heard_signal.set())
    before = what_it_is_like()
    returned = in_threads() if plan["mode"] == "threads" else asyncio.run(in_asyncio())
    after = what_it_is_like()
    changed = {
        name: [str(before.get(name)), str(after.get(name))]
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }
    print("\n" + json.dumps({"returned": returned, "changed": changed, "left": left_behind()}, default=str), flush=True)


if __name__ == "__main__":
    importlib.import_module("tests.engines.overlapping_flows").main()  # by name, as workers know it
