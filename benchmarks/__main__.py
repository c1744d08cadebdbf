"""`python -m benchmarks`: measure everything, print tables, write `results.json` and `results.svg`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engines import RUNNERS
from benchmarks.plot import draw
from benchmarks.server import SERVER, prefect_server, recorded, until_idle
from benchmarks.tables import tables

PACKAGES = ("prefect", "prefect-anyrunner", "prefect-dask", "prefect-ray", "distributed", "ray", "pebble")


def main() -> None:
    """Parse options, measure, and write what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 tasks, one repeat: a look, not a result")
    parser.add_argument("--runners", default=",".join(RUNNERS))
    parser.add_argument("--measures", default="split,overhead,settle,cold,shared,memory")
    parser.add_argument("--variants", default="stock,ours,bare")
    parser.add_argument("--sizes", default="100,1000,10000", help="tasks of one map; stock is left out from 10000 on")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--megabytes", type=int, default=100, help="size of the shared argument")
    parser.add_argument("--shared-tasks", type=int, default=100)
    parser.add_argument("--shared-repeats", type=int, default=1)
    parser.add_argument("--stock-shared-tasks", type=int, default=10, help="stock ships it that often, so fewer")
    parser.add_argument("--settle-tasks", type=int, default=10000, help="finished futures to settle")
    parser.add_argument("--stock-settle-tasks", type=int, default=200, help="the same of the stock runners")
    parser.add_argument("--memory-tasks", type=int, default=5000, help="tasks through map_settled")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"))
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repeats, options.megabytes = "100", 1, 10
        options.shared_tasks, options.memory_tasks, options.settle_tasks = 20, 1000, 100
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "at": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
        "options": {name: str(value) for name, value in vars(options).items()},
        "packages": {name: version(name) for name in PACKAGES},
    }
    print(json.dumps(machine, indent=1), flush=True)
    rows: list[dict[str, Any]] = []
    for measure in options.measures.split(","):
        for runner in ["process"] if measure == "split" else options.runners.split(","):
            for order in _orders(measure, runner, options):
                with prefect_server() as env:  # each its own: none works on what another one left
                    for row in _measured(order, env):
                        rows.append(row)
                        print(json.dumps(row), flush=True)
                        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    print(tables(rows))
    draw(rows, options.json.with_suffix(".svg"))


def _orders(measure: str, runner: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what to measure, a process each; overhead: an engine, too, for each turn of stock, ours and bare."""
    order = {
        **{name: value for name, value in vars(options).items() if name != "json"},
        "measure": measure,
        "runner": runner,
        "sizes": [int(size) for size in options.sizes.split(",")],
        "variants": options.variants.split(","),
    }
    if measure == "server":
        for size in order["sizes"]:
            for variant in ("stock", "all", "auto", "final", "failures"):
                yield {**order, "variant": variant, "size": size}
        return
    if measure != "overhead":
        yield order
        return
    for repeat in range(options.repeats):
        for variant in order["variants"] if repeat % 2 == 0 else order["variants"][::-1]:
            yield {**order, "variant": variant, "repeat": repeat}


def _measured(order: dict[str, Any], env: dict[str, str]) -> Iterator[dict[str, Any]]:
    measure, runner = order["measure"], order["runner"]
    if measure == "cold":
        yield from _cold(order, env)
        return
    if measure == "server":
        yield _server(order, env)
        return
    command = [sys.executable, "-m", "benchmarks.child", json.dumps(order)]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    if child.returncode:
        print(f"{measure} of {runner} ended with exit code {child.returncode}", file=sys.stderr)


def _cold(order: dict[str, Any], env: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Seconds from the start of `python flow.py` to the first body running, on an engine that it starts itself."""
    for repeat in range(order["repeats"]):
        for variant in ("stock", "ours") if repeat % 2 == 0 else ("ours", "stock"):
            command = [sys.executable, "-m", "benchmarks.cold", order["runner"], variant, str(order["workers"])]
            began = time.time()
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            row = {"measure": "cold", "runner": order["runner"], "variant": variant, "repeat": repeat}
            if done.returncode == 0:
                yield {**row, "seconds": float(done.stdout.split()[-1]) - began, "whole_s": time.time() - began}


def _server(order: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
    """Return what one flow run of no-ops costs a server of its own, and what the API has of it in the end."""
    server = psutil.Process(int(env[SERVER]))
    spent = until_idle(server)
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.recorded"]
    command += [order["runner"], order["variant"], str(order["workers"]), str(order["size"])]
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    process_s = time.perf_counter() - began
    at_end = recorded(env, flow_run := (printed := json.loads(done.stdout.splitlines()[-1]))["flow_run"])
    spent = until_idle(server) - spent
    return {
        "measure": "server",
        **{name: order[name] for name in ("runner", "variant", "size")},
        "in_flow_s": printed["in_flow_s"],
        "process_s": process_s,
        "server_cpu_s": spent,
        "completed_at_end": at_end,
        "completed": recorded(env, flow_run),
    }


if __name__ == "__main__":
    main()
