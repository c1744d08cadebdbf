"""A flow of one task on an engine of its own: prints when the body ran."""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow

from benchmarks.tasks import now


def main() -> None:
    """Run it on the runner and variant that the arguments name."""
    runner, variant, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    task_runner: Any
    if runner in ("thread", "process"):
        from benchmarks.engines import make

        task_runner = make(runner, variant, workers, None)
    elif variant == "ours":
        from prefect_anyrunner import pick

        options = f"n_workers={workers}&threads_per_worker=1" if runner == "dask" else f"num_cpus={workers}"
        task_runner = pick(f"{runner}://?{options}")
    elif runner == "dask":
        import prefect_dask

        local = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
        task_runner = prefect_dask.DaskTaskRunner(cluster_kwargs=local)  # type: ignore[attr-defined]
    else:
        import prefect_ray

        task_runner = prefect_ray.RayTaskRunner(init_kwargs={"num_cpus": workers, "include_dashboard": False})

    @flow(task_runner=task_runner)
    def first() -> float:
        at: float = now.submit().result()
        return at

    print(first())


if __name__ == "__main__":
    main()
