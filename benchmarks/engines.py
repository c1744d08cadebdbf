"""Engines and runners: stock and ours on the same one, and the engine without Prefect."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from benchmarks.tasks import bare_noop

RUNNERS = ("thread", "process", "dask", "ray")

_CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, host="127.0.0.1",
                      dashboard_address="127.0.0.1:0", memory_limit=0) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def engine(runner: str, workers: int) -> Iterator[Any]:
    """Start what `runner` needs, warm and shared by all variants: a Dask cluster of its own process, or a Ray."""
    if runner == "dask":
        with tempfile.NamedTemporaryFile("w", suffix="_cluster.py") as script:
            script.write(_CLUSTER)
            script.flush()
            cluster = subprocess.Popen(
                [sys.executable, script.name, str(workers)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert cluster.stdin is not None
            assert cluster.stdout is not None
            try:
                yield cluster.stdout.readline().strip()
            finally:
                cluster.stdin.close()
                cluster.wait(60)
    elif runner == "ray":
        import ray

        folder = tempfile.mkdtemp(prefix="r")  # short: Ray puts sockets there
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        try:
            yield None
        finally:
            ray.shutdown()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    else:
        yield None


def make(runner: str, variant: str, workers: int, address: str | None) -> Any:
    """Return a stock task runner or ours, on the engine at hand."""
    ours = variant == "ours"
    if runner == "thread":
        import prefect.task_runners as stock

        import prefect_anyrunner.backends.thread as thread

        return (thread if ours else stock).ThreadPoolTaskRunner(max_workers=workers)
    if runner == "process":
        import prefect.task_runners as stock

        import prefect_anyrunner.backends.process as process

        return (process if ours else stock).ProcessPoolTaskRunner(max_workers=workers)
    if runner == "dask":
        import prefect_dask

        import prefect_anyrunner.backends.dask as dask

        return (dask if ours else prefect_dask).DaskTaskRunner(address=address)
    import prefect_ray

    import prefect_anyrunner.backends.ray as ray_backend

    return (ray_backend if ours else prefect_ray).RayTaskRunner()


@contextlib.contextmanager
def bare(runner: str, workers: int, address: str | None) -> Iterator[Callable[[int], tuple[Callable[[], Any], Any]]]:
    """Give a function that submits `n` no-ops to the engine itself and returns what waits for their results."""
    if runner == "dask":
        import distributed

        with distributed.Client(address) as client:  # type: ignore[no-untyped-call]

            def submit_dask(n: int) -> tuple[Callable[[], Any], Any]:
                futures = client.map(bare_noop, range(n), pure=False)
                return lambda: client.gather(futures), futures

            yield submit_dask
    elif runner == "ray":
        import ray

        remote = ray.remote(bare_noop)

        def submit_ray(n: int) -> tuple[Callable[[], Any], Any]:
            references = [remote.remote(number) for number in range(n)]
            return lambda: ray.get(references), references

        yield submit_ray
    else:
        pool = ThreadPoolExecutor if runner == "thread" else ProcessPoolExecutor
        with pool(workers) as executor:

            def submit_pool(n: int) -> tuple[Callable[[], Any], Any]:
                futures = [executor.submit(bare_noop, number) for number in range(n)]
                return lambda: [future.result() for future in futures], futures

            yield submit_pool
